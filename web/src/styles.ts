// The style sheets for where no page brings them, adopted rather than written into the document.

import marks from "./marks.css?inline";
import tokens from "./tokens.css?inline";
import frame from "./frame.css?inline";

let sheet: CSSStyleSheet | null = null;

/** Give the document, or the shadow root, that an element lies in the styles of the marks. */
export function adoptStyles(element: Element): void {
  const root = element.getRootNode();
  if (!(root instanceof Document || root instanceof ShadowRoot)) return;
  if (!sheet) {
    sheet = new CSSStyleSheet();
    sheet.replaceSync(`${tokens}\n${marks}\n${frame}`);
  }
  if (!root.adoptedStyleSheets.includes(sheet)) root.adoptedStyleSheets = [...root.adoptedStyleSheets, sheet];
}
