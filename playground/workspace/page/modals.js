// Modals as dialogs: the top one of the stack is shown, Escape closes it, errors stand at their fields.

import { drawBlocks } from "./blocks.js";
import { h, icon } from "./dom.js";
import { confirmed } from "./elements.js";
import { act, mine, store } from "./store.js";
import { raiseToasts, toast } from "./toasts.js";

let shown = null;
const values = new Map();

function valuesOf(view) {
  if (!values.has(view.id)) values.set(view.id, {});
  return values.get(view.id);
}

// Send what was typed but not sent yet; the fields that the client refuses come back as errors.
async function flush(view) {
  const pending = valuesOf(view);
  if (!Object.keys(pending).length) return {};
  const answer = await act("fill", mine({ view: view.id, values: pending }));
  if (answer.ok) values.set(view.id, {});
  else if (!answer.errors) toast(answer.error, "problem");
  return answer.errors ?? {};
}

export function viewSurface(view, errors, redraw) {
  return {
    store,
    name: view.id,
    entered: withPending(view),
    errors,
    act: async (element, block, value) => {
      if (!(await confirmed(element.confirm))) return;
      const refused = await flush(view);
      if (Object.keys(refused).length) redraw?.(refused);
      const where = { where: view.id, action_id: element.action_id, block_id: block.block_id, value };
      const answer = await act("click", mine(where));
      if (!answer.ok) toast(answer.error, "problem");
    },
    fill: (element, block, value) => {
      valuesOf(view)[block.block_id] = { [element.action_id]: value };
    },
    suggest: async (element, query) => {
      const answer = await act("suggest", mine({ where: view.id, action_id: element.action_id, query }));
      return answer.ok ? answer.result : [];
    },
  };
}

function withPending(view) {
  const entered = structuredClone(view.entered);
  for (const [block, actions] of Object.entries(valuesOf(view))) {
    for (const [action, value] of Object.entries(actions)) {
      const known = entered[block]?.[action];
      if (known && "value" in known) known.value = value;
    }
  }
  return entered;
}

export function drawModals(errors = null) {
  const root = document.getElementById("modals");
  const view = store.stack.at(-1);
  const told = view ? JSON.stringify([view, store.stack.length, errors]) : null;
  if (told === shown) return;
  shown = told;
  if (!view) {
    root.querySelector("dialog")?.close();
    root.replaceChildren();
    return;
  }
  const before = root.querySelector("dialog");
  const focused = before?.contains(document.activeElement) ? document.activeElement.id : null;
  const dialog = draw(view, { ...view.errors, ...errors });
  root.replaceChildren(dialog);
  dialog.showModal();
  raiseToasts();
  const wrong = dialog.querySelector(".invalid input, .invalid textarea, .invalid select");
  const first = dialog.querySelector(".modal-body input, .modal-body select, .modal-body textarea, .modal-body button");
  const kept = focused ? document.getElementById(focused) : null;
  (wrong ?? kept ?? first ?? dialog.querySelector(".modal-foot button"))?.focus();
}

function draw(view, errors) {
  const close = () => act("close_view", mine());
  const submit = async (event) => {
    event.preventDefault();
    const refused = await flush(view);
    if (Object.keys(refused).length) {
      drawModals(refused);
      return;
    }
    const answer = await act("submit", mine());
    if (!answer.ok) answer.errors ? drawModals(answer.errors) : toast(answer.error, "problem");
  };
  const surface = viewSurface(view, errors, drawModals);
  const back = store.stack.length > 1;
  return h(
    "dialog",
    { class: "modal", "aria-labelledby": "modal-title", oncancel: (event) => { event.preventDefault(); close(); } },
    h(
      "form",
      { onsubmit: submit, novalidate: true },
      h(
        "header",
        { class: "modal-head" },
        h("span", { class: "app-avatar small" }, h("img", { src: "/page/key.svg", alt: "" })),
        h("h2", { id: "modal-title" }, view.title),
        h("button", { type: "button", class: "plain", "aria-label": "Close", onclick: close }, icon(back ? "back" : "close")),
      ),
      h("div", { class: "modal-body" }, drawBlocks(view.blocks, surface)),
      h(
        "footer",
        { class: "modal-foot" },
        h("button", { type: "button", class: "button", onclick: close }, back ? "Back" : view.close),
        view.submit
          ? h("button", { type: "submit", class: `button primary${view.waiting ? " busy" : ""}`, disabled: view.waiting }, view.submit)
          : null,
      ),
    ),
  );
}
