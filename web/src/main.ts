import { mount } from "svelte";

import "./theme.css";
import "./page/page.css";
import App from "./page/App.svelte";

const scheme = location.protocol === "https:" ? "wss:" : "ws:";

mount(App, {
  target: document.getElementById("page")!,
  props: { address: `${scheme}//${location.host}/socket` },
});
