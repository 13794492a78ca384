// Draws the parsed text of messages and blocks: styles, mentions, links, dates, emoji.

import { h } from "./dom.js";
import { emoji } from "./emoji.js";

export function marks(nodes, store) {
  return (nodes || []).map((node) => mark(node, store));
}

function mark(node, store) {
  const inner = () => marks(node.c, store);
  switch (node.t) {
    case "text": return node.s;
    case "br": return h("br");
    case "bold": return h("strong", {}, inner());
    case "italic": return h("em", {}, inner());
    case "strike": return h("s", {}, inner());
    case "code": return h("code", {}, inner());
    case "pre": return h("pre", {}, h("code", {}, inner()));
    case "quote": return h("blockquote", {}, inner());
    case "heading": return h("p", { class: "md-heading" }, inner());
    case "paragraph": return h("p", {}, inner());
    case "rule": return h("hr");
    case "list": return h(node.ordered ? "ol" : "ul", {}, node.c.map((item) => listItem(item, store)));
    case "emoji": return emoji(node.name);
    case "link": return h("a", { href: node.url, target: "_blank", rel: "noreferrer noopener" }, inner());
    case "user": return mention(`@${store.users.get(node.id)?.name ?? node.id}`, node.id === store.me?.id);
    case "group": return mention(`@${store.groups.get(node.id)?.handle ?? node.label.replace(/^@/, "") ?? node.id}`);
    case "broadcast": return mention(`@${node.name}`, true);
    case "channel": return channelLink(node, store);
    case "date": return date(node);
    default: return "";
  }
}

function listItem(item, store) {
  const done = item.done;
  const box = done === undefined ? null : h("span", { class: "box", "aria-label": done ? "done" : "open" }, done ? "☑ " : "☐ ");
  return h("li", {}, box, marks(item.c, store));
}

function mention(text, me = false) {
  return h("span", { class: me ? "mention mention-me" : "mention" }, text);
}

function channelLink(node, store) {
  const channel = store.channels.get(node.id);
  const name = channel?.name || node.label || "private channel";
  if (!channel) return h("span", { class: "mention" }, `#${name}`);
  return h("button", { class: "mention as-link", type: "button", onclick: () => store.go({ kind: "channel", id: node.id }) }, `#${name}`);
}

// --- dates ---

const format = (options) => new Intl.DateTimeFormat("en-GB", options);
const LONG = format({ weekday: "long", month: "long", day: "numeric", year: "numeric" });
const MIDDLE = format({ month: "long", day: "numeric", year: "numeric" });
const SHORT = format({ month: "short", day: "numeric", year: "numeric" });
const NUMERIC = new Intl.DateTimeFormat("en-CA");
const TIME = format({ hour: "2-digit", minute: "2-digit" });
const SECONDS = format({ hour: "2-digit", minute: "2-digit", second: "2-digit" });

export function clock(ts) {
  return TIME.format(new Date(Number(ts) * 1000));
}

function pretty(when, otherwise) {
  const days = Math.round((startOfDay(when) - startOfDay(new Date())) / 86_400_000);
  return { "-1": "yesterday", 0: "today", 1: "tomorrow" }[days] ?? otherwise.format(when);
}

export function dayName(ts) {
  const when = new Date(Number(ts) * 1000);
  const name = pretty(when, LONG);
  return name[0].toUpperCase() + name.slice(1);
}

function startOfDay(when) {
  return new Date(when.getFullYear(), when.getMonth(), when.getDate()).getTime();
}

function ago(when) {
  const seconds = Math.round((when - Date.now()) / 1000);
  const steps = [["day", 86_400], ["hour", 3_600], ["minute", 60], ["second", 1]];
  const [unit, size] = steps.find(([, one]) => Math.abs(seconds) >= one) ?? steps.at(-1);
  return new Intl.RelativeTimeFormat("en", { numeric: "auto" }).format(Math.trunc(seconds / size), unit);
}

export function formatDate(seconds, pattern) {
  const when = new Date(seconds * 1000);
  const tokens = {
    date_num: () => NUMERIC.format(when),
    date_slash: () => NUMERIC.format(when).replaceAll("-", "/"),
    date: () => MIDDLE.format(when),
    date_short: () => SHORT.format(when),
    date_long: () => LONG.format(when),
    date_pretty: () => pretty(when, MIDDLE),
    date_short_pretty: () => pretty(when, SHORT),
    date_long_pretty: () => pretty(when, LONG),
    time: () => TIME.format(when),
    time_secs: () => SECONDS.format(when),
    ago: () => ago(when),
  };
  let known = true;
  const text = pattern.replace(/\{(\w+)\}/g, (whole, name) => {
    if (tokens[name]) return tokens[name]();
    known = false;
    return whole;
  });
  return known ? text : null;
}

function date(node) {
  const text = formatDate(node.at, node.format) ?? node.fallback;
  const shown = h(
    "time",
    { datetime: new Date(node.at * 1000).toISOString(), title: node.fallback, "data-at": node.at, "data-format": node.format },
    text,
  );
  return node.url ? h("a", { href: node.url, target: "_blank", rel: "noreferrer noopener" }, shown) : shown;
}

setInterval(() => {
  for (const element of document.querySelectorAll("time[data-format*='{ago}']")) {
    element.textContent = formatDate(Number(element.dataset.at), element.dataset.format);
  }
}, 10_000);

// --- rich text ---

export function rich(elements, store) {
  return elements.map((element) => {
    if (element.type === "rich_text_list") {
      const items = element.elements.map((item) => h("li", {}, pieces(item.elements, store)));
      return h(element.style === "ordered" ? "ol" : "ul", { style: `--indent:${element.indent || 0}` }, items);
    }
    if (element.type === "rich_text_preformatted") return h("pre", {}, h("code", {}, pieces(element.elements, store)));
    if (element.type === "rich_text_quote") return h("blockquote", {}, pieces(element.elements, store));
    return h("p", {}, pieces(element.elements, store));
  });
}

function pieces(elements, store) {
  return elements.map((piece) => {
    let shown = richPiece(piece, store);
    const style = piece.style || {};
    if (style.code) shown = h("code", {}, shown);
    if (style.bold) shown = h("strong", {}, shown);
    if (style.italic) shown = h("em", {}, shown);
    if (style.strike) shown = h("s", {}, shown);
    if (style.underline) shown = h("u", {}, shown);
    return shown;
  });
}

function richPiece(piece, store) {
  switch (piece.type) {
    case "text": return piece.text.split("\n").flatMap((line, index) => (index ? [h("br"), line] : [line]));
    case "link": return /^(https?|mailto|tel):/i.test(piece.url)
      ? h("a", { href: piece.url, target: "_blank", rel: "noreferrer noopener" }, piece.text || piece.url)
      : piece.text || piece.url;
    case "user": return mark({ t: "user", id: piece.user_id }, store);
    case "usergroup": return mark({ t: "group", id: piece.usergroup_id, label: "" }, store);
    case "channel": return mark({ t: "channel", id: piece.channel_id, label: "" }, store);
    case "broadcast": return mark({ t: "broadcast", name: piece.range }, store);
    case "emoji": return emoji(piece.name);
    case "date": return date({ at: piece.timestamp, format: piece.format, fallback: piece.fallback || "", url: null });
    case "color": return h("span", {}, h("span", { class: "swatch", style: `background:${piece.value}` }), piece.value);
    default: return "";
  }
}
