// The emoji that a bot is likely to use, drawn here so that they look the same on every machine; the rest is left to fonts.

import { h, svg } from "./dom.js";

const GREEN = "#2fa36f";
const RED = "#d8405a";
const GOLD = "#f0b03a";
const BLUE = "#4a86e8";
const GREY = "#8a93a6";
const WHITE = "#ffffff";

const line = (d, stroke, width = 2) => ["path", { d, fill: "none", stroke, "stroke-width": width, "stroke-linecap": "round", "stroke-linejoin": "round" }];
const fill = (d, colour) => ["path", { d, fill: colour }];
const disc = (colour, r = 8) => ["circle", { cx: 10, cy: 10, r, fill: colour }];
const box = (colour) => ["rect", { x: 2, y: 2, width: 16, height: 16, rx: 3.5, fill: colour }];

const DRAWN = {
  white_check_mark: [box(GREEN), line("M5.6 10.3l3 3 5.8-6.4", WHITE, 2.4)],
  heavy_check_mark: [line("M4 10.5l4 4L16 5", GREEN, 3)],
  x: [line("M4.5 4.5l11 11m0-11l-11 11", RED, 3)],
  no_entry: [disc(RED), line("M5.5 10h9", WHITE, 3)],
  no_entry_sign: [["circle", { cx: 10, cy: 10, r: 7, fill: "none", stroke: RED, "stroke-width": 2.4 }], line("M5.2 5.2l9.6 9.6", RED, 2.4)],
  warning: [fill("M10 2.2 18.6 17.5H1.4z", GOLD), line("M10 7.6v4.6m0 2.5v.1", "#4d3400", 2)],
  rotating_light: [fill("M5 16v-5a5 5 0 0 1 10 0v5z", RED), fill("M3.5 15.5h13V18h-13z", GREY), line("M10 1.5v1.8M3 4.5l1.3 1.3M17 4.5l-1.3 1.3", RED, 1.8)],
  key: [["circle", { cx: 6.6, cy: 10, r: 3.6, fill: "none", stroke: GOLD, "stroke-width": 2.4 }], line("M10.2 10H18m-2.6 0v3.4M18 10v2.4", GOLD, 2.4)],
  lock: [line("M6.5 9V6.5a3.5 3.5 0 0 1 7 0V9", GREY, 2), fill("M4 9h12v9H4z", GOLD)],
  unlock: [line("M6.5 9V5.5a3.5 3.5 0 0 1 6.8-1.2", GREY, 2), fill("M4 9h12v9H4z", GOLD)],
  hourglass_flowing_sand: [line("M5 2.5h10M5 17.5h10M6.2 2.5c0 5 7.6 5.5 7.6 15M13.8 2.5c0 5-7.6 5.5-7.6 15", GREY, 1.6), fill("M7.4 16.7h5.2L10 12.8zM7.6 5.8h4.8L10 8.7z", GOLD)],
  hourglass: [line("M5 2.5h10M5 17.5h10M6.2 2.5c0 5 7.6 5.5 7.6 15M13.8 2.5c0 5-7.6 5.5-7.6 15", GREY, 1.6), fill("M7.4 16.7h5.2L10 12.8z", GOLD)],
  alarm_clock: [["circle", { cx: 10, cy: 11, r: 6.6, fill: "none", stroke: RED, "stroke-width": 2 }], line("M10 7.5V11l2.5 1.6M3.5 4.5 5.5 3M16.5 4.5 14.5 3", RED, 1.8)],
  calendar: [box("#e9edf5"), fill("M2 5.5A3.5 3.5 0 0 1 5.5 2h9A3.5 3.5 0 0 1 18 5.5V7H2z", RED), line("M6 11h.1M10 11h.1M14 11h.1M6 14.5h.1M10 14.5h.1", GREY, 2.4)],
  arrows_counterclockwise: [line("M15.8 8A6.3 6.3 0 0 0 4.5 7M4.2 12a6.3 6.3 0 0 0 11.3 1M4.3 3.4V7h3.6M15.7 16.6V13h-3.6", BLUE, 2.1)],
  leftwards_arrow_with_hook: [line("M7 5 3 9l4 4M3.5 9H13a4 4 0 0 1 0 8h-2", BLUE, 2.2)],
  double_vertical_bar: [box(BLUE), line("M7.5 6.5v7M12.5 6.5v7", WHITE, 2.4)],
  arrow_forward: [box(BLUE), fill("M7.5 5.8v8.4l6.5-4.2z", WHITE)],
  eyes: [["ellipse", { cx: 6, cy: 10, rx: 3.8, ry: 5.4, fill: WHITE, stroke: GREY, "stroke-width": 1 }], ["ellipse", { cx: 14, cy: 10, rx: 3.8, ry: 5.4, fill: WHITE, stroke: GREY, "stroke-width": 1 }], ["circle", { cx: 5, cy: 11, r: 1.9, fill: "#26304a" }], ["circle", { cx: 13, cy: 11, r: 1.9, fill: "#26304a" }]],
  bell: [fill("M10 2.5a5 5 0 0 1 5 5c0 4.5 2 5.8 2 7H3c0-1.2 2-2.5 2-7a5 5 0 0 1 5-5zM8 15.8h4a2 2 0 0 1-4 0z", GOLD)],
  bulb: [["circle", { cx: 10, cy: 8, r: 5.4, fill: GOLD }], fill("M7.8 13h4.4v4.5H7.8z", GREY)],
  memo: [fill("M4 2.5h12v15H4z", "#e9edf5"), line("M6.8 6.5h6.4M6.8 10h6.4M6.8 13.5h3.6", GREY, 1.5)],
  clipboard: [fill("M3.5 3.5h13V18h-13z", "#b98a4e"), fill("M5.5 5.5h9V16h-9z", "#f4f6fa"), fill("M7.5 2h5v3h-5z", GREY)],
  mag: [["circle", { cx: 8.6, cy: 8.6, r: 5.2, fill: "#cfe0ff", stroke: GREY, "stroke-width": 2 }], line("M12.8 12.8l4.4 4.4", GREY, 2.6)],
  fire: [fill("M10 1.5c1 3.5 5.5 5.3 5.5 10.5a5.5 5.5 0 0 1-11 0c0-2.4 1.3-3.7 2-5.2.9 1 1.2 1.7 1.5 2.6C9.5 7.5 10.3 4.5 10 1.5z", "#f2762e"), fill("M10 9.5c.6 1.7 2.6 2.4 2.6 4.8a2.6 2.6 0 0 1-5.2 0c0-1.9 1.8-2.6 2.6-4.8z", GOLD)],
  skull: [fill("M10 2a7 7 0 0 0-4 12.7V17.5h8v-2.8A7 7 0 0 0 10 2z", "#c9d1e0"), ["circle", { cx: 7.4, cy: 9, r: 1.8, fill: "#26304a" }], ["circle", { cx: 12.6, cy: 9, r: 1.8, fill: "#26304a" }]],
  shield: [fill("M10 1.8 17 4.3v5.2c0 4.3-2.8 7.3-7 8.7-4.2-1.4-7-4.4-7-8.7V4.3z", BLUE), line("M6.8 10l2.3 2.3 4-4.6", WHITE, 2)],
  pushpin: [line("M10 11v6.5", GREY, 1.8), fill("M7 2h6l-.6 5L15 10.5v1H5v-1L7.6 7z", RED)],
  bar_chart: [line("M4.5 17V11M10 17V4M15.5 17V8", BLUE, 3.2)],
  information_source: [box(BLUE), line("M10 9v5M10 6v.1", WHITE, 2.3)],
  tada: [fill("M2.5 17.5 7 6.5l6.5 6.5z", GOLD), line("M11 7c1-2 0-3.5-1-4.5M13.5 10c2-.8 3.5-.2 4.5.8M12.5 7.5 17 3", RED, 1.7)],
  large_blue_circle: [disc(BLUE)],
  large_green_circle: [disc(GREEN)],
  large_yellow_circle: [disc(GOLD)],
  large_orange_circle: [disc("#f2762e")],
  red_circle: [disc(RED)],
  white_circle: [["circle", { cx: 10, cy: 10, r: 7, fill: "none", stroke: GREY, "stroke-width": 2 }]],
  black_circle: [disc("#39435a")],
};
DRAWN.date = DRAWN.calendar;
DRAWN.repeat = DRAWN.arrows_counterclockwise;
DRAWN.pause_button = DRAWN.double_vertical_bar;
DRAWN.stopwatch = DRAWN.alarm_clock;
DRAWN.closed_lock_with_key = DRAWN.lock;
DRAWN.old_key = DRAWN.key;

const LETTERS = {
  wave: "👋", "+1": "👍", thumbsup: "👍", "-1": "👎", thumbsdown: "👎", chart_with_upwards_trend: "📈", no_bell: "🔕", link: "🔗",
  question: "❓", exclamation: "❗", busts_in_silhouette: "👥", bust_in_silhouette: "👤", robot_face: "🤖", gear: "⚙️",
  hammer_and_wrench: "🛠️", wrench: "🔧", rocket: "🚀", ghost: "👻", zzz: "💤", speech_balloon: "💬", point_right: "👉", heart: "❤️",
  smile: "😄", slightly_smiling_face: "🙂", sunny: "☀️", broom: "🧹", test_tube: "🧪", scroll: "📜", page_facing_up: "📄",
  ballot_box_with_check: "☑️", arrow_right: "➡️", arrow_left: "⬅️", rewind: "⏪", black_square_for_stop: "⏹️", clock1: "🕐",
};

export function emoji(name) {
  const plain = name.split("::")[0];
  const label = plain.replaceAll("_", " ");
  if (DRAWN[plain]) {
    const drawing = svg("svg", { viewBox: "0 0 20 20", class: "emoji", role: "img", "aria-label": label });
    drawing.append(...DRAWN[plain].map(([tag, attributes]) => svg(tag, attributes)));
    return drawing;
  }
  return LETTERS[plain] ? h("span", { class: "emoji", role: "img", "aria-label": label }, LETTERS[plain]) : `:${name}:`;
}
