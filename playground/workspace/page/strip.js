// The live strip: sign-ins per second and failures of the estate, its gateways and its clock.

import { h, svg } from "./dom.js";

const WIDTH = 132;
const HEIGHT = 30;
const SAMPLES = 60;
const rates = [];
const failures = [];

export async function runStrip(box) {
  let stats;
  try {
    stats = await (await fetch("/strip")).json();
  } catch {
    stats = { configured: true, reachable: false };
  }
  if (!stats.configured) return;
  box.hidden = false;
  document.body.classList.add("has-strip");
  draw(box, stats);
  setTimeout(() => runStrip(box), 1000);
}

function draw(box, stats) {
  if (!stats.reachable) {
    box.replaceChildren(h("span", { class: "strip-off" }, "The estate is not running"));
    return;
  }
  keep(rates, Number(stats.logins_per_second) || 0);
  keep(failures, Number(stats.failures_recent) || 0);
  const failing = failures.at(-1) > 0;
  box.replaceChildren(
    figure("sign-ins / s", format(rates.at(-1)), ""),
    sparkline(),
    figure("failures now", String(failures.at(-1)), failing ? "bad" : "good"),
    figure("in total", String(stats.failures_total ?? 0), stats.failures_total ? "bad" : "good"),
    h("div", { class: "gateways" }, (stats.gateways || []).slice(0, 6).map((gateway) => chip(gateway, stats.signing_kid))),
    stats.clock ? clockOf(stats.clock) : "",
  );
}

function keep(list, value) {
  list.push(value);
  if (list.length > SAMPLES) list.shift();
}

function format(value) {
  return value >= 100 ? String(Math.round(value)) : value.toFixed(1);
}

function figure(label, value, kind) {
  return h("div", { class: `figure ${kind}` }, h("span", { class: "figure-value" }, value), h("span", { class: "figure-label" }, label));
}

function sparkline() {
  const top = Math.max(...rates, 1) * 1.15;
  const step = WIDTH / (SAMPLES - 1);
  const start = WIDTH - (rates.length - 1) * step;
  const points = rates.map((value, index) => `${(start + index * step).toFixed(1)},${(HEIGHT - (value / top) * HEIGHT).toFixed(1)}`);
  const drawing = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, class: "sparkline", role: "img", "aria-label": "Sign-ins per second and failures over the last minute" });
  drawing.append(
    svg("line", { class: "base", x1: 0, y1: HEIGHT - 0.5, x2: WIDTH, y2: HEIGHT - 0.5 }),
    svg("polygon", { class: "area", points: `${start},${HEIGHT} ${points.join(" ")} ${WIDTH},${HEIGHT}` }),
    svg("polyline", { class: "line", points: points.join(" ") }),
  );
  const most = Math.max(...failures, 1);
  failures.forEach((value, index) => {
    if (!value) return;
    const size = Math.max(4, (value / most) * HEIGHT);
    drawing.append(svg("rect", { class: "failure", x: start + index * step - 1, y: HEIGHT - size, width: 2, height: size }));
  });
  return drawing;
}

function chip(gateway, signing) {
  const kids = gateway.kids || [];
  const age = Math.round(gateway.cache_age_seconds ?? 0);
  const knows = !signing || kids.includes(signing);
  return h(
    "span",
    {
      class: `gateway${knows ? "" : " stale"}`,
      title: `${gateway.name} knows ${kids.join(", ") || "no key"}; learned ${age} s ago`,
    },
    h("span", { class: "gateway-name" }, gateway.name),
    kids.map((kid) => h("span", { class: `kid${kid === signing ? " signing" : ""}` }, kid.slice(-4))),
    h("span", { class: "age" }, age > 90 ? `${Math.round(age / 60)}m` : `${age}s`),
  );
}

function clockOf(clock) {
  const when = new Date(clock.virtual_iso);
  const text = Number.isNaN(when.getTime()) ? "" : when.toISOString().slice(11, 16);
  const rate = Number(clock.rate) === 1 ? "real time" : `×${clock.rate}`;
  return figure(`UTC, ${rate}`, text, "");
}
