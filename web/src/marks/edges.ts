// What is wider than its place scrolls, and a soft edge says on which side there is more.

/** Keep `data-more` of a scroller ("start", "end", "both") as it is; `sized` comes first where its size changed. Call `look` after painting. */
export function edges(scroller: HTMLElement, sized: () => void = () => {}): { look(): void; destroy(): void } {
  function mark(): void {
    const before = scroller.scrollLeft > 2;
    const after = scroller.scrollWidth - scroller.clientWidth - scroller.scrollLeft > 2;
    const more = before && after ? "both" : before ? "start" : after ? "end" : "";
    if (more) scroller.dataset["more"] = more;
    else delete scroller.dataset["more"];
  }
  function look(): void {
    sized();
    mark();
  }
  const watch = new ResizeObserver(look);
  watch.observe(scroller);
  scroller.addEventListener("scroll", mark, { passive: true });
  return {
    look,
    destroy() {
      watch.disconnect();
      scroller.removeEventListener("scroll", mark);
    },
  };
}
