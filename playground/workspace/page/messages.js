// The message list and the thread beside it.

import { drawBlocks } from "./blocks.js";
import { avatar, h, icon } from "./dom.js";
import { confirmed, openMenu } from "./elements.js";
import { emoji } from "./emoji.js";
import { clock, dayName, marks } from "./marks.js";
import { act, listed, mine, person, store, threadOf } from "./store.js";
import { toast } from "./toasts.js";

const drawn = new Map();

export function drawList(list, channelId, { threadTs = null } = {}) {
  const messages = threadTs ? threadMessages(channelId, threadTs) : listed(channelId);
  const stick = list.scrollHeight - list.scrollTop - list.clientHeight < 80 || list.dataset.channel !== channelId;
  const focused = list.contains(document.activeElement) ? focusKey(document.activeElement) : null;
  const rows = [];
  let previous = null;
  for (const message of messages) {
    const newDay = !previous || dayName(previous.ts) !== dayName(message.ts);
    if (newDay && !threadTs) rows.push(h("div", { class: "day", role: "separator" }, h("span", {}, dayName(message.ts))));
    const row = rowOf(message, Boolean(threadTs));
    const follows = !newDay && previous.user === message.user && previous.mine_only === message.mine_only
      && Number(message.ts) - Number(previous.ts) < 300 && !previous.replies;
    row.classList.toggle("follows", follows && !threadTs);
    rows.push(row);
    previous = message;
  }
  list.replaceChildren(...rows);
  list.dataset.channel = channelId;
  if (stick) list.scrollTop = list.scrollHeight;
  if (focused) list.querySelector(focused)?.focus();
}

function threadMessages(channelId, ts) {
  const parent = store.messages.get(channelId)?.get(ts);
  return parent ? [parent, ...threadOf(channelId, ts)] : threadOf(channelId, ts);
}

function focusKey(element) {
  const row = element.closest(".message");
  const action = element.dataset?.actionId;
  return row && action ? `.message[data-ts="${row.dataset.ts}"] [data-action-id="${CSS.escape(action)}"]` : null;
}

// A row is drawn again only when its message changed.
function rowOf(message, inThread) {
  const key = `${store.me.id} ${inThread} ${message.channel} ${message.ts}`;
  const told = JSON.stringify(message) + store.users.size;
  const before = drawn.get(key);
  if (before?.told === told) return before.row;
  const row = drawMessage(message, inThread);
  if (before) row.classList.add("changed");
  drawn.set(key, { told, row });
  return row;
}

function drawMessage(message, inThread) {
  const author = person(message.user);
  const app = store.team.app;
  const name = h("span", { class: "author" }, author.real_name);
  const tags = [message.from_app ? h("span", { class: "tag" }, "APP") : null, author.outside ? h("span", { class: "tag outside" }, "PARTNER") : null];
  const time = h("time", { class: "time", datetime: new Date(Number(message.ts) * 1000).toISOString() }, clock(message.ts));
  return h(
    "article",
    {
      class: `message${message.mine_only ? " mine-only" : ""}${message.pinned ? " pinned" : ""}`,
      "data-ts": message.ts,
      "aria-label": `${author.real_name} at ${clock(message.ts)}`,
    },
    h("div", { class: "gutter" }, avatar(author, app), h("span", { class: "short-time", "aria-hidden": "true" }, clock(message.ts))),
    h(
      "div",
      { class: "content" },
      message.mine_only ? h("p", { class: "only-you" }, icon("eye"), "Only visible to you") : null,
      message.pinned ? h("p", { class: "only-you" }, icon("pin"), "Pinned") : null,
      message.broadcast && !inThread ? h("p", { class: "only-you" }, icon("reply"), "replied to a thread") : null,
      h("p", { class: "by" }, name, tags, time),
      body(message),
      reactions(message),
      inThread || !message.replies ? null : replies(message),
    ),
    tools(message, inThread),
  );
}

function body(message) {
  const edited = message.edited ? h("span", { class: "edited" }, "(edited)") : null;
  if (!message.blocks.length) return h("div", { class: "text" }, marks(message.nodes, store), edited && " ", edited);
  return h("div", { class: "blocks" }, drawBlocks(message.blocks, surfaceOf(message)), edited);
}

function surfaceOf(message) {
  return {
    store,
    name: message.ts.replace(".", ""),
    entered: null,
    errors: {},
    act: async (element, block, value) => {
      if (!(await confirmed(element.confirm))) return;
      const where = { where: message.ts, action_id: element.action_id, block_id: block.block_id, value };
      const answer = await act("click", mine(where));
      if (!answer.ok) toast(answer.error, "problem");
    },
    fill: () => {},
    suggest: async (element, query) => {
      const answer = await act("suggest", mine({ where: message.ts, action_id: element.action_id, query }));
      return answer.ok ? answer.result : [];
    },
  };
}

function reactions(message) {
  const all = Object.entries(message.reactions);
  if (!all.length) return null;
  return h("p", { class: "reactions" }, all.map(([name, count]) => h("span", { class: "reaction" }, emoji(name), ` ${count}`)));
}

function replies(message) {
  const faces = message.repliers.slice(0, 4).map((id) => avatar(person(id), store.team.app));
  return h(
    "button",
    { class: "replies", type: "button", onclick: () => store.openThread(message.channel, message.ts) },
    h("span", { class: "faces" }, faces),
    h("strong", {}, message.replies === 1 ? "1 reply" : `${message.replies} replies`),
    h("span", { class: "last" }, `Last reply at ${clock(message.latest_reply)}`),
  );
}

function tools(message, inThread) {
  if (message.mine_only) return null;
  const items = store.team.app.shortcuts
    .filter((shortcut) => shortcut.kind === "message")
    .map((shortcut) => ({
      label: `${shortcut.name} (${store.team.app.name})`,
      choose: async () => {
        const answer = await act("shortcut", mine({ callback_id: shortcut.callback_id, message: message.ts }));
        if (!answer.ok) toast(answer.error, "problem");
      },
    }));
  items.push({ label: "Delete message (as an admin)", choose: () => act("delete_message", { message: message.ts }) });
  const more = h(
    "button",
    { type: "button", "aria-label": "More actions", "aria-haspopup": "menu", onclick: () => openMenu(more, items) },
    icon("more"),
  );
  const reply = inThread
    ? null
    : h(
        "button",
        { type: "button", "aria-label": "Reply in thread", onclick: () => store.openThread(message.channel, message.thread_ts || message.ts) },
        icon("reply"),
      );
  return h("div", { class: "tools", role: "toolbar", "aria-label": "Message actions" }, reply, more);
}
