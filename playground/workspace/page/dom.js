// Elements made from plain calls; text is always text, never HTML.

export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "class") element.className = value;
    else if (name === "value" || name === "checked" || name === "selected") element[name] = value;
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

export function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value));
  element.append(...children);
  return element;
}

const PATHS = {
  lock: "M6 9V7a4 4 0 0 1 8 0v2m-9 0h10v7H5z",
  hash: "M7.5 4 6 16M14 4l-1.5 12M4.5 8H16M4 12h11.5",
  link: "M8 12a3 3 0 0 0 4 .3l3-3a3 3 0 0 0-4.2-4.2l-1 1M12 8a3 3 0 0 0-4-.3l-3 3a3 3 0 0 0 4.2 4.2l1-1",
  home: "M4 9.5 10 4l6 5.5V16h-4v-4H8v4H4z",
  send: "M4 10 16.5 4.5 13 16l-3-4.5z",
  close: "M5 5l10 10M15 5 5 15",
  back: "M12 5l-5 5 5 5",
  reply: "M4 6h12v7H9l-3.5 3V13H4z",
  more: "M5 10h.01M10 10h.01M15 10h.01",
  pin: "M8 4h4l-.5 5 2.5 2.5H6L8.5 9zM10 11.5V17",
  eye: "M3 10s2.5-4.5 7-4.5S17 10 17 10s-2.5 4.5-7 4.5S3 10 3 10zM10 8.2a1.8 1.8 0 1 0 0 3.6 1.8 1.8 0 0 0 0-3.6",
  archive: "M4 5h12v3H4zM5 8v8h10V8M8.5 11h3",
  chevron: "M6 8l4 4 4-4",
};

export function icon(name) {
  const drawing = svg("svg", { viewBox: "0 0 20 20", class: `icon icon-${name}`, "aria-hidden": "true" });
  drawing.append(svg("path", { d: PATHS[name] }));
  return drawing;
}

export function keyMark() {
  const drawing = svg("svg", { viewBox: "0 0 36 36", "aria-hidden": "true" });
  drawing.append(
    svg("circle", { cx: 13.5, cy: 18, r: 5.2 }),
    svg("path", { d: "M18.7 18H29m-4 0v4.6M29 18v3.4" }),
  );
  return drawing;
}

export function hue(text) {
  let sum = 7;
  for (const letter of text) sum = (sum * 31 + letter.codePointAt(0)) % 3600;
  return sum / 10;
}

export function avatar(user, app) {
  if (app && user?.id === app.user) return h("span", { class: "avatar app-avatar", "aria-hidden": "true" }, keyMark());
  const name = user?.real_name || "?";
  const initials = name.split(/\s+/).map((part) => part[0]).join("").slice(0, 2);
  return h(
    "span",
    { class: "avatar", style: `--hue:${hue(user?.id || name)}`, "aria-hidden": "true" },
    initials.toUpperCase(),
  );
}
