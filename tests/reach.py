"""What everybody must be able to reach: a law over whatever page a test has before it."""

BY_POINTER_ALONE = """() => {
  const seen = (e) => e.checkVisibility() && e.getBoundingClientRect().width > 0 && !e.closest(":disabled");
  const natural = "button, a[href], input, select, textarea, summary, [tabindex]";
  const names = (e) => [e.ariaLabel, e.title, e.textContent, ...[...(e.labels ?? [])].map((label) => label.textContent)];
  const rowed = (e) => e.closest("[role=listbox], [role=radiogroup], [role=grid], [role=group], table")?.querySelector("[tabindex='0']");
  const whole = {option: "[role=listbox]", radio: "[role=radiogroup]"};
  const roled = (e) => e.matches("button, a, input, select, textarea, summary, tr, td") || (e.role && e.role !== "img");
  const wrong = [...document.querySelectorAll(`${natural}, .choosable`)].filter(seen)
    .filter((e) => !names(e).some((name) => name?.trim()) || !roled(e) || (whole[e.role] && !e.parentElement.closest(whole[e.role]))
      || (e.tabIndex < 0 && e.matches("button, .choosable") && !rowed(e)));
  const pointed = [...document.querySelectorAll("body *")].filter((e) => !e.closest(`${natural}, label, svg`) && !e.querySelector(natural))
    .filter((e) => getComputedStyle(e).cursor === "pointer" && getComputedStyle(e.parentElement).cursor !== "pointer").filter(seen);
  return [...wrong, ...pointed].map((e) => e.outerHTML.slice(0, 160));
}"""
"""What can be clicked and has no name or no role, a choice that stands in no group of choices, what is never reached by Tab and arrows."""

CUT_RINGS = """() => [...document.querySelectorAll("[data-view] .choosable")].filter((e) => e.checkVisibility() && !e.closest("svg")).filter((e) => {
  e.focus({focusVisible: true});
  const [ring, room] = [getComputedStyle(e), e.closest(".body")?.getBoundingClientRect()];
  const [grow, box] = [parseFloat(ring.outlineWidth) + parseFloat(ring.outlineOffset), e.getBoundingClientRect()];
  if (document.activeElement !== e || !room || ring.outlineStyle === "none" || box.height > room.height) return false;
  return Math.max(room.left - box.left, room.top - box.top, box.bottom - room.bottom) + grow > 0.5;
}).map((e) => e.outerHTML.slice(0, 160))"""
"""What can be chosen in a card and has its ring cut at the card's edge when it has the focus."""
