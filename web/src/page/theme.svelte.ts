/** Light or dark: as the system says, or as the user chose; remembered. */

export type Choice = "system" | "light" | "dark";

const STORED = "diorama.theme";
const dark = matchMedia("(prefers-color-scheme: dark)");

class Theme {
  choice = $state<Choice>(read());
  system = $state<"light" | "dark">(dark.matches ? "dark" : "light");
  readonly now = $derived(this.choice === "system" ? this.system : this.choice);

  constructor() {
    dark.addEventListener("change", (event) => (this.system = event.matches ? "dark" : "light"));
  }

  set(choice: Choice): void {
    this.choice = choice;
    localStorage.setItem(STORED, choice);
  }

  /** System, then light, then dark, then system again. */
  cycle(): void {
    this.set(this.choice === "system" ? "light" : this.choice === "light" ? "dark" : "system");
  }
}

function read(): Choice {
  const stored = localStorage.getItem(STORED);
  return stored === "light" || stored === "dark" ? stored : "system";
}

export const theme = new Theme();
