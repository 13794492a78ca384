// Short notices at the edge of the page.

import { h, icon } from "./dom.js";

export function toast(text, kind = "") {
  const box = document.getElementById("toasts");
  const made = h(
    "div",
    { class: `toast ${kind}`, role: kind === "problem" ? "alert" : null },
    h("span", {}, text),
    h("button", { type: "button", "aria-label": "Dismiss", onclick: () => made.remove() }, icon("close")),
  );
  box.append(made);
  raiseToasts();
  setTimeout(() => made.remove(), 9000);
}

// Shown anew, so that they lie above a modal that was opened meanwhile.
export function raiseToasts() {
  const box = document.getElementById("toasts");
  if (box.matches(":popover-open")) box.hidePopover();
  if (box.childElementCount) box.showPopover();
}
