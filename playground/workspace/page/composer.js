// The box that messages and commands are typed into, with a hint for slash commands.

import { h, icon } from "./dom.js";
import { act, channelTitle, mine, store } from "./store.js";
import { toast } from "./toasts.js";

export function composer(channel, { threadTs = null } = {}) {
  const key = `${store.me.id} ${channel.id} ${threadTs || ""}`;
  const name = channel.direct ? channelTitle(channel) : `#${channel.name}`;
  const label = threadTs ? "Reply…" : `Message ${name}`;
  const hint = h("div", { class: "hint-box", id: `hint-${threadTs || "main"}`, hidden: true });
  const text = h("textarea", {
    id: threadTs ? null : "composer-text",
    rows: 1,
    placeholder: label,
    "aria-label": label,
    "aria-describedby": hint.id,
    autocomplete: "off",
    oninput: () => changed(),
    onkeydown: (event) => keyed(event),
  });
  text.value = store.drafts.get(key) ?? "";

  const commands = () => {
    const typed = text.value;
    if (!typed.startsWith("/")) return [];
    const [word] = typed.split(" ");
    return store.team.app.commands.filter((one) => one.command.startsWith(word));
  };
  const changed = () => {
    store.drafts.set(key, text.value);
    text.style.height = "auto";
    if (text.scrollHeight) text.style.height = `${Math.min(text.scrollHeight, 180)}px`;
    send.disabled = !text.value.trim();
    const found = commands();
    hint.hidden = !found.length;
    hint.replaceChildren(
      ...found.map((one) =>
        h(
          "button",
          { type: "button", class: "hint-row", tabindex: "-1", onclick: () => complete(one.command) },
          h("strong", {}, one.command),
          h("span", { class: "usage" }, one.usage_hint),
          h("span", { class: "description" }, one.description),
        ),
      ),
    );
  };
  const complete = (command) => {
    text.value = `${command} `;
    changed();
    text.focus();
  };
  const keyed = (event) => {
    if (event.key === "Tab" && !hint.hidden && !text.value.includes(" ")) {
      event.preventDefault();
      complete(commands()[0].command);
    } else if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      submit();
    } else if (event.key === "Escape") hint.hidden = true;
  };
  const submit = async () => {
    const typed = text.value.trim();
    if (!typed) return;
    text.value = "";
    changed();
    const where = { channel: channel.id, text: typed, ...(threadTs ? { thread_ts: threadTs } : {}) };
    const answer = await act(typed.startsWith("/") ? "type" : "say", mine(where));
    if (!answer.ok) {
      toast(answer.error, "problem");
      text.value = typed;
      changed();
    }
  };
  const send = h("button", { type: "button", class: "send", "aria-label": "Send", disabled: true, onclick: submit }, icon("send"));
  const made = h("div", { class: "composer" }, hint, h("div", { class: "composer-box" }, text, send));
  changed();
  return made;
}
