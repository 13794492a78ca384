// What this page knows, where it is, and how it talks to the workspace.

export const store = {
  me: null,
  team: null,
  users: new Map(),
  groups: new Map(),
  channels: new Map(),
  messages: new Map(),
  stack: [],
  home: null,
  place: { kind: "channel", id: null },
  thread: null,
  seen: new Map(),
  drafts: new Map(),
  connected: false,
  go: () => {},
};

let socket = null;
let listener = () => {};

export function onNews(callback) {
  listener = callback;
}

export function connect(user) {
  socket?.close();
  const mine = new WebSocket(`ws://${location.host}/live?user=${encodeURIComponent(user)}`);
  socket = mine;
  mine.onopen = () => {
    store.connected = true;
  };
  mine.onmessage = (event) => {
    if (mine !== socket) return;
    const news = JSON.parse(event.data);
    take(news);
    listener(news);
  };
  mine.onclose = () => {
    if (mine !== socket) return;
    store.connected = false;
    setTimeout(() => mine === socket && connect(user), 1000);
  };
}

function take(news) {
  if (news.first) {
    store.messages.clear();
    store.stack = [];
    store.home = null;
  }
  if (news.me) store.me = news.me;
  if (news.team) store.team = news.team;
  if (news.users) store.users = new Map(news.users.map((user) => [user.id, user]));
  if (news.groups) store.groups = new Map(news.groups.map((group) => [group.id, group]));
  if (news.channels) store.channels = new Map(news.channels.map((channel) => [channel.id, channel]));
  if (news.stack) store.stack = news.stack;
  if ("home" in news) store.home = news.home;
  for (const message of news.messages ?? []) {
    if (!store.messages.has(message.channel)) store.messages.set(message.channel, new Map());
    const channel = store.messages.get(message.channel);
    if (message.deleted) channel.delete(message.ts);
    else channel.set(message.ts, message);
  }
}

export async function act(action, options = {}) {
  try {
    const response = await fetch(`/control/${action}`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(options),
    });
    return await response.json();
  } catch {
    return { ok: false, error: "The workspace does not answer." };
  }
}

export function mine(options = {}) {
  return { user: store.me.id, ...options };
}

export function person(id) {
  return store.users.get(id) ?? { id, name: id, real_name: id };
}

export function channelTitle(channel) {
  if (!channel) return "";
  if (!channel.direct) return channel.name;
  const others = channel.members.filter((member) => member !== store.me.id).map((member) => person(member).real_name);
  return others.join(", ") || store.me.real_name;
}

export function inChannel(channel) {
  return channel.members.includes(store.me.id);
}

export function listed(channelId) {
  return [...(store.messages.get(channelId)?.values() ?? [])]
    .filter((message) => !message.thread_ts || message.thread_ts === message.ts || message.broadcast)
    .sort((a, b) => Number(a.ts) - Number(b.ts));
}

export function threadOf(channelId, ts) {
  return [...(store.messages.get(channelId)?.values() ?? [])]
    .filter((message) => message.thread_ts === ts && message.ts !== ts)
    .sort((a, b) => Number(a.ts) - Number(b.ts));
}

export function unread(channelId) {
  const seen = Number(store.seen.get(`${store.me.id} ${channelId}`) ?? 0);
  return listed(channelId).filter((message) => Number(message.ts) > seen && message.user !== store.me.id).length;
}

export function markSeen(channelId) {
  const last = listed(channelId).at(-1);
  if (last) store.seen.set(`${store.me.id} ${channelId}`, last.ts);
}
