import { mount } from "svelte";

import "./theme.css";
import "./page/page.css";
import App from "./page/App.svelte";
import { token } from "./page/token.ts";

token(); // before anything reads the address

const scheme = location.protocol === "https:" ? "wss:" : "ws:";

mount(App, {
  target: document.getElementById("page")!,
  props: { address: `${scheme}//${location.host}/socket` },
});
