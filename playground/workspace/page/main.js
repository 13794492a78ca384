// Puts the page together: who acts, where they are, what they see.

import { drawBlocks } from "./blocks.js";
import { composer } from "./composer.js";
import { avatar, h, icon, keyMark } from "./dom.js";
import { drawList } from "./messages.js";
import { drawModals, viewSurface } from "./modals.js";
import { act, channelTitle, connect, inChannel, listed, markSeen, mine, onNews, person, store, unread } from "./store.js";
import { runStrip } from "./strip.js";
import { toast } from "./toasts.js";

const part = (id) => document.getElementById(id);

// --- the top: brand and who acts ---

function drawTop() {
  part("brand").replaceChildren(
    h("span", { class: "app-avatar brand-mark" }, keyMark()),
    h("span", {}, h("strong", {}, store.team.name), h("small", {}, "playground")),
  );
  const people = [...store.users.values()].filter((user) => !user.bot && !user.deleted);
  const list = h("ul", { role: "listbox", "aria-label": "Act as", class: "people", hidden: true, tabindex: "-1" });
  const toggle = (open) => {
    list.hidden = !open;
    button.setAttribute("aria-expanded", String(open));
    if (open) list.querySelector("[aria-selected='true']")?.focus();
  };
  for (const user of people) {
    list.append(
      h(
        "li",
        {
          role: "option",
          tabindex: "-1",
          "aria-selected": String(user.id === store.me.id),
          onclick: () => become(user.id),
          onkeydown: (event) => {
            if (event.key === "Enter" || event.key === " ") become(user.id);
            if (event.key === "Escape") { toggle(false); button.focus(); }
            if (event.key === "ArrowDown") event.currentTarget.nextElementSibling?.focus();
            if (event.key === "ArrowUp") event.currentTarget.previousElementSibling?.focus();
          },
        },
        avatar(user),
        h("span", { class: "who" }, h("strong", {}, user.real_name), h("small", {}, user.title)),
        badge(user),
      ),
    );
  }
  const button = h(
    "button",
    { type: "button", class: "acting", "aria-haspopup": "listbox", "aria-expanded": "false", onclick: () => toggle(list.hidden) },
    avatar(store.me),
    h("span", { class: "who" }, h("small", {}, "acting as"), h("strong", {}, store.me.real_name)),
    icon("chevron"),
  );
  part("acting").replaceChildren(button, list);
  part("acting").onfocusout = (event) => {
    if (!part("acting").contains(event.relatedTarget)) setTimeout(() => toggle(false), 120);
  };
}

function badge(user) {
  const text = user.outside ? "partner" : user.guest || (user.admin ? "admin" : "");
  return text ? h("span", { class: `badge ${user.outside ? "outside" : ""}` }, text) : null;
}

function become(id) {
  sessionStorage.setItem("user", id);
  store.thread = null;
  connect(id);
}

// --- the side: conversations ---

function drawSide() {
  const channels = [...store.channels.values()];
  const order = (a, b) => a.archived - b.archived || channelTitle(a).localeCompare(channelTitle(b));
  const rooms = channels.filter((one) => !one.direct && (inChannel(one) || !one.archived)).sort(order);
  const app = store.team.app;
  const directs = channels.filter((one) => one.direct && !one.members.includes(app.user)).sort(order);
  const appDirect = channels.find((one) => one.direct && one.members.includes(app.user));
  part("side").replaceChildren(
    section("Channels", rooms.map(channelEntry)),
    directs.length ? section("Direct messages", directs.map(directEntry)) : "",
    section("Apps", [
      entry(
        { current: store.place.kind === "home", unread: appDirect ? unread(appDirect.id) : 0, go: { kind: "home", tab: "home" } },
        avatar({ id: app.user }, app),
        app.name,
      ),
    ]),
    h("p", { class: "side-foot" }, "Everything here happens on this machine."),
  );
}

function section(title, entries) {
  return h("section", {}, h("h2", {}, title), h("ul", {}, entries.map((one) => h("li", {}, one))));
}

function channelEntry(channel) {
  const sign = channel.archived ? "archive" : channel.private ? "lock" : "hash";
  const current = store.place.kind === "channel" && store.place.id === channel.id;
  return entry(
    { current, unread: current ? 0 : unread(channel.id), go: { kind: "channel", id: channel.id }, dim: !inChannel(channel) || channel.archived },
    icon(sign),
    channel.name,
    channel.shared ? h("span", { class: "shared", title: "Shared with another workspace" }, icon("link")) : null,
  );
}

function directEntry(channel) {
  const other = channel.members.find((member) => member !== store.me.id) ?? store.me.id;
  const current = store.place.kind === "channel" && store.place.id === channel.id;
  return entry({ current, unread: current ? 0 : unread(channel.id), go: { kind: "channel", id: channel.id } }, avatar(person(other)), channelTitle(channel));
}

function entry(options, sign, name, extra = null) {
  return h(
    "button",
    {
      type: "button",
      class: `entry${options.dim ? " dim" : ""}${options.unread ? " unread" : ""}`,
      "aria-current": options.current ? "page" : null,
      onclick: () => store.go(options.go),
    },
    sign,
    h("span", { class: "entry-name" }, name),
    extra,
    options.unread ? h("span", { class: "count", "aria-label": `${options.unread} unread` }, String(options.unread)) : null,
  );
}

// --- the middle: a channel, or the app's Home ---

let middle = "";

function drawMain() {
  if (store.place.kind === "home") drawHome();
  else drawChannel();
}

function drawChannel() {
  const channel = store.channels.get(store.place.id);
  if (!channel) return;
  const shape = JSON.stringify([store.me.id, channel]);
  if (middle !== shape) {
    middle = shape;
    part("main").replaceChildren(
      channelHead(channel),
      h("div", { class: "list", role: "log", "aria-label": `Messages in ${channelTitle(channel)}`, tabindex: "0" }),
      foot(channel),
    );
  }
  wordPins(channel);
  drawList(part("main").querySelector(".list"), channel.id);
  markSeen(channel.id);
  if (!listed(channel.id).length) part("main").querySelector(".list").replaceChildren(welcome(channel));
}

function channelHead(channel) {
  const sign = channel.direct ? null : icon(channel.archived ? "archive" : channel.private ? "lock" : "hash");
  const faces = channel.members.slice(0, 5).map((id) => avatar(person(id), store.team.app));
  const names = channel.members.map((id) => person(id).real_name).join(", ");
  return h(
    "header",
    { class: "head" },
    h("div", { class: "head-line" }, h("h1", {}, sign, channelTitle(channel)), channel.topic ? h("p", { class: "topic" }, channel.topic) : null),
    channel.pins.length ? h("p", { class: "pins" }, channel.pins.map((ts) => pinned(channel, ts))) : null,
    channel.bookmarks.length
      ? h("p", { class: "bookmarks" }, channel.bookmarks.map((one) => h("a", { href: one.link, target: "_blank", rel: "noreferrer noopener" }, icon("link"), one.title)))
      : null,
    h("span", { class: "members", title: names, "aria-label": `${channel.members.length} members: ${names}` }, h("span", { class: "faces" }, faces), String(channel.members.length)),
  );
}

function pinned(channel, ts) {
  const go = () => {
    const row = part("main").querySelector(`article[data-ts="${ts}"]`);
    if (row) row.scrollIntoView({ block: "center" });
    else store.openThread(channel.id, store.messages.get(channel.id)?.get(ts)?.thread_ts || ts);
  };
  return h("button", { type: "button", class: "plain pin", "data-pin": ts, onclick: go }, icon("pin"), h("span", {}));
}

// A pinned status is edited often, and the head is not drawn again for that.
function wordPins(channel) {
  for (const pin of part("main").querySelectorAll("[data-pin]")) {
    pin.lastChild.textContent = store.messages.get(channel.id)?.get(pin.dataset.pin)?.plain || "Pinned message";
  }
}

function welcome(channel) {
  const [command] = store.team.app.commands;
  return h(
    "div",
    { class: "welcome" },
    h("span", { class: "app-avatar" }, keyMark()),
    h("h2", {}, channel.direct ? channelTitle(channel) : `#${channel.name}`),
    h("p", {}, "Nothing has been said here yet. Try ", h("code", {}, command.command), " in the box below."),
  );
}

function foot(channel) {
  if (channel.archived) return h("p", { class: "foot-note" }, "This channel is archived.");
  if (!inChannel(channel)) {
    const join = h("button", { type: "button", class: "button primary", onclick: () => act("join", mine({ channel: channel.id })) }, "Join channel");
    return h("div", { class: "foot-note" }, h("span", {}, `You are looking at #${channel.name}`), join);
  }
  return composer(channel);
}

function drawHome() {
  const app = store.team.app;
  const tab = store.place.tab;
  const direct = [...store.channels.values()].find((one) => one.direct && one.members.includes(app.user) && inChannel(one));
  const shape = JSON.stringify(["home", store.me.id, tab, store.home, direct?.id]);
  if (middle !== shape) {
    middle = shape;
    const tabs = [["home", "Home", app.home_tab], ["messages", "Messages", app.messages_tab], ["about", "About", true]];
    const strip = h(
      "div",
      { class: "tabs", role: "tablist" },
      tabs.filter(([, , on]) => on).map(([key, name]) =>
        h("button", { type: "button", role: "tab", "aria-selected": String(tab === key), onclick: () => store.go({ kind: "home", tab: key }) }, name),
      ),
    );
    const head = h("header", { class: "head" }, h("div", { class: "head-line" }, h("h1", {}, avatar({ id: app.user }, app), app.name, h("span", { class: "tag" }, "APP"))), strip);
    part("main").replaceChildren(head, ...homeBody(tab, app, direct));
  }
  if (tab === "messages" && direct) {
    drawList(part("main").querySelector(".list"), direct.id);
    markSeen(direct.id);
  }
}

function homeBody(tab, app, direct) {
  if (tab === "about") return [h("div", { class: "home" }, h("p", {}, app.description), h("ul", {}, app.commands.map((one) => h("li", {}, h("code", {}, `${one.command} ${one.usage_hint}`), " ", one.description))))];
  if (tab === "messages") return direct ? [h("div", { class: "list", role: "log", "aria-label": `Messages with ${app.name}`, tabindex: "0" }), app.read_only ? h("p", { class: "foot-note" }, `${app.name} does not read messages here.`) : composer(direct)] : [h("div", { class: "home empty" }, h("p", {}, `${app.name} has not written to you yet.`))];
  if (!store.home) return [h("div", { class: "home empty" }, h("p", {}, `${app.name} has not published a Home tab for you yet.`))];
  const surface = viewSurface(store.home, store.home.errors);
  return [h("div", { class: "home" }, drawBlocks(store.home.blocks, surface))];
}

// --- the thread beside it ---

let threadShape = "";

function drawThread() {
  const box = part("thread");
  const open = store.thread;
  const channel = open ? store.channels.get(open.channel) : null;
  box.hidden = !channel;
  document.body.classList.toggle("has-thread", Boolean(channel));
  if (!channel) {
    threadShape = "";
    return;
  }
  const shape = JSON.stringify([store.me.id, open]);
  if (threadShape !== shape) {
    threadShape = shape;
    const close = () => { store.thread = null; drawThread(); };
    box.replaceChildren(
      h("header", { class: "head" }, h("div", { class: "head-line" }, h("h2", {}, "Thread"), h("p", { class: "topic" }, channel.direct ? channelTitle(channel) : `#${channel.name}`)), h("button", { type: "button", class: "plain", "aria-label": "Close thread", onclick: close }, icon("close"))),
      h("div", { class: "list", role: "log", "aria-label": "Replies", tabindex: "0" }),
      inChannel(channel) && !channel.archived ? composer(channel, { threadTs: open.ts }) : "",
    );
  }
  drawList(box.querySelector(".list"), open.channel, { threadTs: open.ts });
}

// --- all together ---

store.go = (place) => {
  const opening = place.kind === "home" && place.tab === "home" && (store.place.kind !== "home" || store.place.tab !== "home");
  store.place = place;
  if (opening) act("open_home", mine()).then((answer) => answer.ok || toast(answer.error, "problem"));
  if (place.kind === "channel") sessionStorage.setItem("place", place.id);
  draw();
  part("main").querySelector("textarea")?.focus({ preventScroll: true });
};
store.openThread = (channel, ts) => {
  store.thread = { channel, ts };
  drawThread();
  part("thread").querySelector("textarea")?.focus();
};

function draw() {
  drawSide();
  drawMain();
  drawThread();
}

onNews((news) => {
  if (news.first || news.me || news.users || news.team) drawTop();
  if (store.place.kind === "channel" && !store.channels.has(store.place.id)) {
    const rooms = [...store.channels.values()].filter((one) => !one.direct && inChannel(one) && !one.archived);
    const linked = location.pathname.match(/^\/archives\/(\w+)/)?.[1];
    const wanted = store.channels.get(linked) ?? store.channels.get(sessionStorage.getItem("place"));
    store.place = { kind: "channel", id: (wanted ?? rooms.find((one) => one.name === "ops") ?? rooms[0])?.id ?? null };
  }
  if (news.first && store.place.kind === "home") act("open_home", mine());
  draw();
  drawModals();
  for (const text of news.notices ?? []) toast(text, "problem");
});

connect(sessionStorage.getItem("user") ?? "alice");
runStrip(part("strip"));
