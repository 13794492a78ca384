// The elements that take a value: text, selects, dates, choices; and the menus and dialogs around them.

import { h, icon } from "./dom.js";
import { marks } from "./marks.js";

let serial = 0;

export function control(one, block, surface, field) {
  const id = field.id || `element-${(serial += 1)}`;
  const attributes = {
    id,
    "aria-describedby": field.describedby,
    "aria-invalid": field.invalid ? "true" : null,
    "aria-label": field.input ? null : one.placeholder?.text || one.action_id,
    "data-action-id": one.action_id,
    placeholder: one.placeholder?.text,
    autofocus: one.focus_on_load,
  };
  const entered = surface.entered?.[block.block_id]?.[one.action_id] ?? initial(one);
  // Inside an input block a value is kept for the submit; elsewhere each choice is an action of its own.
  const changed = (value) => (field.input && !block.dispatch_action ? surface.fill(one, block, value) : surface.act(one, block, value));
  const typed = (value) => surface.fill(one, block, value);
  const kind = one.type;
  if (kind === "plain_text_input") return textInput(one, attributes, entered, typed, block, changed);
  if (["email_text_input", "url_text_input", "number_input"].includes(kind)) return textInput(one, attributes, entered, typed, block, changed);
  if (kind === "datepicker") return dated("date", attributes, entered?.selected_date, changed);
  if (kind === "timepicker") return dated("time", attributes, entered?.selected_time, changed);
  if (kind === "datetimepicker") return moment(attributes, entered?.selected_date_time, changed);
  if (kind === "checkboxes") return boxes(one, "checkbox", surface, (entered?.selected_options || []).map((o) => o.value), changed);
  if (kind === "radio_buttons") return boxes(one, "radio", surface, [entered?.selected_option?.value], (values) => changed(values[0]));
  if (kind === "external_select") return combobox(one, attributes, entered?.selected_option, surface, changed);
  if (kind === "multi_external_select") return several(one, attributes, surface, entered, changed);
  if (kind.startsWith("multi_")) return several(one, attributes, surface, entered, changed);
  return select(one, attributes, surface, entered, changed);
}

function initial(one) {
  return {
    value: one.initial_value,
    selected_option: one.initial_option,
    selected_options: one.initial_options,
    selected_user: one.initial_user,
    selected_date: one.initial_date,
    selected_time: one.initial_time,
    selected_date_time: one.initial_date_time,
  };
}

function textInput(one, attributes, entered, typed, block, changed) {
  const dispatches = block.dispatch_action;
  const types = { email_text_input: "email", url_text_input: "url", number_input: "text" };
  const made = one.multiline
    ? h("textarea", { ...attributes, rows: 4, oninput: () => typed(made.value) })
    : h("input", {
        ...attributes,
        type: types[one.type] || "text",
        inputmode: one.type === "number_input" ? "decimal" : null,
        autocomplete: "off",
        oninput: () => typed(made.value),
        onkeydown: (event) => {
          if (event.key === "Enter" && dispatches) {
            event.preventDefault();
            changed(made.value);
          }
        },
      });
  if (one.max_length) made.maxLength = one.max_length;
  made.value = entered?.value ?? "";
  return made;
}

function dated(type, attributes, value, changed) {
  const made = h("input", { ...attributes, type, value: value ?? "", onchange: () => changed(made.value || null) });
  return made;
}

function moment(attributes, value, changed) {
  const local = value ? new Date((value - new Date().getTimezoneOffset() * 60) * 1000).toISOString().slice(0, 16) : "";
  const made = h("input", {
    ...attributes,
    type: "datetime-local",
    value: local,
    onchange: () => changed(made.value ? Math.floor(new Date(made.value).getTime() / 1000) : null),
  });
  return made;
}

function boxes(one, type, surface, chosen, changed) {
  const name = `group-${(serial += 1)}`;
  const inputs = one.options.map((option) => h("input", { type, name, value: option.value, checked: chosen.includes(option.value), "data-action-id": one.action_id }));
  const tell = () => changed(inputs.filter((input) => input.checked).map((input) => input.value));
  for (const input of inputs) input.addEventListener("change", tell);
  return h(
    "div",
    { class: "choices", role: type === "radio" ? "radiogroup" : "group" },
    one.options.map((option, index) =>
      h(
        "label",
        { class: "choice" },
        inputs[index],
        h(
          "span",
          {},
          marks(option.text.nodes, surface.store),
          option.description ? h("small", {}, marks(option.description.nodes, surface.store)) : null,
        ),
      ),
    ),
  );
}

function choices(one, store) {
  const kind = one.type.replace("multi_", "");
  if (kind === "users_select") {
    return [...store.users.values()].filter((user) => !user.deleted).map((user) => ({ value: user.id, label: `${user.real_name} (@${user.name})` }));
  }
  if (kind === "channels_select" || kind === "conversations_select") {
    return [...store.channels.values()].filter((channel) => !channel.direct && !channel.archived).map((channel) => ({ value: channel.id, label: `#${channel.name}` }));
  }
  const groups = one.option_groups || [{ options: one.options || [] }];
  return groups.flatMap((group) => group.options.map((option) => ({ value: option.value, label: option.text.text, group: group.label?.text })));
}

function chosenValues(entered) {
  if (!entered) return [];
  const many = entered.selected_options || entered.selected_users || entered.selected_channels || entered.selected_conversations;
  const one = entered.selected_option || entered.selected_user || entered.selected_channel || entered.selected_conversation;
  return (many || [one]).filter(Boolean).map((value) => value.value ?? value);
}

function select(one, attributes, surface, entered, changed) {
  const offered = choices(one, surface.store);
  const [chosen] = chosenValues(entered);
  const made = h("select", { ...attributes, placeholder: null, onchange: () => changed(made.value || null) });
  made.append(h("option", { value: "" }, one.placeholder?.text || "Choose…"));
  const groups = new Map();
  for (const option of offered) {
    const node = h("option", { value: option.value }, option.label);
    if (!option.group) made.append(node);
    else {
      if (!groups.has(option.group)) groups.set(option.group, made.appendChild(h("optgroup", { label: option.group })));
      groups.get(option.group).append(node);
    }
  }
  made.value = chosen ?? "";
  return h("span", { class: "select" }, made, icon("chevron"));
}

function several(one, attributes, surface, entered, changed) {
  const chosen = new Set(chosenValues(entered));
  const list = h("div", { class: "several", role: "group", id: attributes.id });
  const show = (offered) => {
    list.replaceChildren(
      ...offered.map((option) => {
        const box = h("input", {
          type: "checkbox",
          value: option.value,
          checked: chosen.has(option.value),
          onchange: () => {
            if (box.checked) chosen.add(option.value);
            else chosen.delete(option.value);
            changed([...chosen]);
          },
        });
        return h("label", { class: "choice" }, box, h("span", {}, option.label));
      }),
    );
  };
  if (one.type === "multi_external_select") {
    surface.suggest(one, "").then((options) => show(options.map((option) => ({ value: option.value, label: option.text.text }))));
  } else show(choices(one, surface.store));
  return list;
}

function combobox(one, attributes, chosen, surface, changed) {
  const least = one.min_query_length ?? 3;
  const listId = `${attributes.id}-list`;
  const list = h("ul", { class: "popup", role: "listbox", id: listId, hidden: true });
  let options = [];
  let active = -1;
  let timer = 0;
  const input = h("input", {
    ...attributes,
    type: "text",
    role: "combobox",
    autocomplete: "off",
    "aria-autocomplete": "list",
    "aria-expanded": "false",
    "aria-controls": listId,
    value: chosen?.text?.text ?? "",
    onclick: () => list.hidden && ask(""),
    oninput: () => ask(input.value),
    onblur: () => setTimeout(hide, 150),
    onkeydown: (event) => keyed(event),
  });
  const hide = () => {
    list.hidden = true;
    input.setAttribute("aria-expanded", "false");
  };
  const ask = (query) => {
    clearTimeout(timer);
    if (query.length < least && !(query === "" && least === 0)) return;
    timer = setTimeout(async () => {
      options = await surface.suggest(one, query);
      active = options.length ? 0 : -1;
      draw();
    }, 150);
  };
  const draw = () => {
    const rows = options.map((option, index) =>
      h(
        "li",
        { role: "option", id: `${listId}-${index}`, "aria-selected": String(index === active), onmousedown: (event) => { event.preventDefault(); choose(option); } },
        h("span", {}, option.text.text),
        option.description ? h("small", {}, option.description.text) : null,
      ),
    );
    list.replaceChildren(...(rows.length ? rows : [h("li", { class: "empty" }, "No results")]));
    list.hidden = false;
    input.setAttribute("aria-expanded", "true");
    if (active >= 0) input.setAttribute("aria-activedescendant", `${listId}-${active}`);
  };
  const choose = (option) => {
    input.value = option.text.text;
    hide();
    changed(option.value);
  };
  const keyed = (event) => {
    if (list.hidden) {
      if (event.key === "ArrowDown") ask("");
      return;
    }
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      active = (active + (event.key === "ArrowDown" ? 1 : -1) + options.length) % Math.max(options.length, 1);
      draw();
    } else if (event.key === "Enter" && options[active]) {
      event.preventDefault();
      choose(options[active]);
    } else if (event.key === "Escape") {
      event.stopPropagation();
      hide();
    }
  };
  return h("span", { class: "combobox" }, input, list);
}

// --- menus and confirmations ---

export function openMenu(anchor, items) {
  document.querySelector(".menu")?.remove();
  const menu = h("div", { class: "menu", role: "menu" });
  const close = () => {
    menu.remove();
    document.removeEventListener("pointerdown", outside, true);
    anchor.focus();
  };
  const outside = (event) => {
    if (!menu.contains(event.target)) close();
  };
  for (const item of items) {
    menu.append(h("button", { type: "button", role: "menuitem", onclick: () => { close(); item.choose(); } }, item.label));
  }
  menu.addEventListener("keydown", (event) => {
    const buttons = [...menu.querySelectorAll("button")];
    const at = buttons.indexOf(document.activeElement);
    if (event.key === "Escape") close();
    if (event.key === "ArrowDown") buttons[(at + 1) % buttons.length].focus();
    if (event.key === "ArrowUp") buttons[(at - 1 + buttons.length) % buttons.length].focus();
  });
  const box = anchor.getBoundingClientRect();
  document.body.append(menu);
  menu.style.left = `${Math.max(8, Math.min(box.left, innerWidth - menu.offsetWidth - 8))}px`;
  menu.style.top = `${box.bottom + 4 + menu.offsetHeight > innerHeight ? box.top - menu.offsetHeight - 4 : box.bottom + 4}px`;
  document.addEventListener("pointerdown", outside, true);
  menu.querySelector("button")?.focus();
}

export function confirmed(confirm) {
  if (!confirm) return Promise.resolve(true);
  return new Promise((resolve) => {
    const finish = (answer) => {
      dialog.close();
      dialog.remove();
      resolve(answer);
    };
    const dialog = h(
      "dialog",
      { class: "confirm", "aria-labelledby": "confirm-title", oncancel: (event) => { event.preventDefault(); finish(false); } },
      h("h2", { id: "confirm-title" }, confirm.title.text),
      h("p", {}, confirm.text.nodes ? marks(confirm.text.nodes, { users: new Map(), groups: new Map(), channels: new Map() }) : confirm.text.text),
      h(
        "div",
        { class: "dialog-buttons" },
        h("button", { type: "button", class: "button", onclick: () => finish(false) }, confirm.deny.text),
        h("button", { type: "button", class: `button ${confirm.style || "primary"}`, onclick: () => finish(true) }, confirm.confirm.text),
      ),
    );
    document.body.append(dialog);
    dialog.showModal();
    dialog.querySelector(".button:last-child").focus();
  });
}
