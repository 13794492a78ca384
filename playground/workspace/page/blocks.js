// Draws Block Kit. Every element that can be used calls back with what the person did.

import { h, icon } from "./dom.js";
import { control, openMenu } from "./elements.js";
import { marks, rich } from "./marks.js";

// `surface`: { store, entered, errors, act(element, block, value), fill(element, block, value), suggest(element, query) }
export function drawBlocks(blocks, surface) {
  return blocks.map((block) => {
    const drawn = (BLOCKS[block.type] ?? unknown)(block, surface);
    if (drawn instanceof Element) drawn.dataset.blockId = block.block_id ?? "";
    return drawn;
  });
}

function words(text, surface) {
  if (!text) return null;
  return marks(text.nodes, surface.store);
}

function unknown(block) {
  return h("div", { class: "block unknown" }, `A ${block.type} block`);
}

function image(one, extra = "") {
  const source = one.image_url;
  return source
    ? h("img", { src: source, alt: one.alt_text, class: extra, loading: "lazy" })
    : h("span", { class: `no-image ${extra}` }, one.alt_text);
}

const BLOCKS = {
  section(block, surface) {
    const fields = block.fields
      ? h("div", { class: "fields" }, block.fields.map((field) => h("div", { class: "field" }, words(field, surface))))
      : null;
    const accessory = block.accessory ? h("div", { class: "accessory" }, element(block.accessory, block, surface)) : null;
    const text = block.text ? h("div", { class: "text" }, words(block.text, surface)) : null;
    return h("div", { class: "block section" }, h("div", { class: "body" }, text, fields), accessory);
  },
  divider: () => h("hr", { class: "block divider" }),
  header: (block, surface) => h("h3", { class: "block header" }, words(block.text, surface)),
  image: (block, surface) =>
    h("figure", { class: "block image" }, block.title ? h("figcaption", {}, words(block.title, surface)) : null, image(block)),
  context: (block, surface) =>
    h(
      "div",
      { class: "block context" },
      block.elements.map((one) => (one.type === "image" ? image(one, "small") : h("span", {}, words(one, surface)))),
    ),
  actions: (block, surface) =>
    h("div", { class: "block actions" }, block.elements.map((one) => element(one, block, surface))),
  context_actions: (block, surface) =>
    h("div", { class: "block actions quiet" }, block.elements.map((one) => element(one, block, surface))),
  input: (block, surface) => input(block, surface),
  markdown: (block, surface) => h("div", { class: "block markdown" }, marks(block.nodes, surface.store)),
  rich_text: (block, surface) => h("div", { class: "block rich" }, rich(block.elements, surface.store)),
  table: (block, surface) => table(block, surface),
  data_visualization: (block) => chart(block),
  alert: (block, surface) =>
    h("div", { class: `block alert alert-${block.level || "default"}`, role: "note" }, words(block.text, surface)),
  card: (block, surface) => card(block, surface),
  carousel: (block, surface) =>
    h("div", { class: "block carousel", role: "list" }, block.elements.map((one) => card(one, surface))),
  container: (block, surface) => container(block, surface),
  plan: (block, surface) =>
    h(
      "div",
      { class: "block plan" },
      h("p", { class: "plan-title" }, block.title),
      (block.tasks || []).map((task) => taskCard(task, surface)),
    ),
  task_card: (block, surface) => taskCard(block, surface),
  video: (block) =>
    h("a", { class: "block video", href: block.video_url, target: "_blank", rel: "noreferrer noopener" }, block.alt_text),
};


function input(block, surface) {
  const id = `field-${surface.name}-${block.block_id}`;
  const error = surface.errors?.[block.block_id];
  const notes = [];
  if (block.hint) notes.push(h("p", { class: "hint", id: `${id}-hint` }, words(block.hint, surface)));
  if (error) notes.push(h("p", { class: "field-error", id: `${id}-error`, role: "alert" }, error));
  const described = notes.map((note) => note.id).join(" ");
  const grouped = ["checkboxes", "radio_buttons"].includes(block.element.type) || block.element.type.startsWith("multi_");
  const label = [words(block.label, surface), block.optional ? h("span", { class: "optional" }, " (optional)") : null];
  const made = element(block.element, block, surface, { id, describedby: described || null, invalid: Boolean(error), input: true });
  return grouped
    ? h("fieldset", { class: `block input${error ? " invalid" : ""}` }, h("legend", {}, label), made, notes)
    : h("div", { class: `block input${error ? " invalid" : ""}` }, h("label", { for: id }, label), made, notes);
}

function element(one, block, surface, field = {}) {
  if (one.type === "button" || one.type === "icon_button") return button(one, block, surface);
  if (one.type === "overflow") return overflow(one, block, surface);
  if (one.type === "image") return image(one, "accessory-image");
  return control(one, block, surface, field);
}

function button(one, block, surface) {
  const made = h(
    "button",
    {
      type: "button",
      class: `button ${one.style || ""}`,
      "aria-label": one.accessibility_label,
      "data-action-id": one.action_id,
      onclick: async () => {
        if (one.url) window.open(one.url, "_blank", "noopener");
        await busy(made, () => surface.act(one, block, one.value ?? null));
      },
    },
    words(one.text, surface),
  );
  return made;
}

async function busy(made, work) {
  made.classList.add("busy");
  made.setAttribute("aria-busy", "true");
  try {
    await work();
  } finally {
    made.classList.remove("busy");
    made.removeAttribute("aria-busy");
  }
}

function overflow(one, block, surface) {
  const made = h(
    "button",
    {
      type: "button",
      class: "button overflow",
      "aria-label": "More actions",
      "aria-haspopup": "menu",
      "data-action-id": one.action_id,
      onclick: () =>
        openMenu(
          made,
          one.options.map((option) => ({
            label: option.text.text,
            choose: () => {
              if (option.url) window.open(option.url, "_blank", "noopener");
              return surface.act(one, block, option.value);
            },
          })),
        ),
    },
    icon("more"),
  );
  return made;
}

function table(block, surface) {
  const align = (index) => block.column_settings?.[index]?.align || "left";
  const cell = (one, index, tag) => {
    const content = one.type === "rich_text" ? rich(one.elements, surface.store) : String(one.text ?? one.value ?? "");
    return h(tag, { style: `text-align:${align(index)}`, scope: tag === "th" ? "col" : null }, content);
  };
  const [head, ...rows] = block.rows;
  return h(
    "div",
    { class: "block table", tabindex: "0" },
    h(
      "table",
      {},
      h("thead", {}, h("tr", {}, head.map((one, index) => cell(one, index, "th")))),
      h("tbody", {}, rows.map((row) => h("tr", {}, row.map((one, index) => cell(one, index, "td"))))),
    ),
  );
}

const TONES = ["#1f6f8b", "#e0a458", "#8c4f6b", "#5f7f4f"];

// A chart as bars; the numbers stand beside them, so that nobody needs the colours.
function chart(block) {
  const { chart: one, title } = block;
  const rows = one.segments
    ? one.segments.map((segment) => ({ label: segment.label, parts: [["", segment.value]] }))
    : one.axis_config.categories.map((label, index) => ({
        label,
        parts: one.series.map((series) => [series.name, series.data[index].value]),
      }));
  const most = Math.max(1, ...rows.map((row) => row.parts.reduce((sum, [, value]) => sum + value, 0)));
  const names = one.series?.map((series) => series.name) ?? [];
  const bar = ([name, value], index) =>
    h("span", { class: "chart-bar", style: `width:${(100 * value) / most}%;background:${TONES[index % TONES.length]}`, title: `${name} ${value}` });
  return h(
    "figure",
    { class: "block chart" },
    h("figcaption", {}, title),
    names.length > 1
      ? h("p", { class: "chart-legend" }, names.map((name, index) => h("span", {}, h("i", { style: `background:${TONES[index % TONES.length]}` }), name)))
      : null,
    rows.map((row) =>
      h(
        "div",
        { class: "chart-row" },
        h("span", { class: "chart-label" }, row.label),
        h("span", { class: "chart-track" }, row.parts.map(bar)),
        h("span", { class: "chart-value" }, row.parts.map(([, value]) => value).join(" + ")),
      ),
    ),
  );
}

function card(block, surface) {
  return h(
    "div",
    { class: "block card", role: "listitem" },
    block.hero_image ? image(block.hero_image, "hero") : null,
    block.title ? h("p", { class: "card-title" }, words(block.title, surface)) : null,
    block.subtitle ? h("p", { class: "card-subtitle" }, words(block.subtitle, surface)) : null,
    block.body ? h("p", {}, words(block.body, surface)) : null,
    block.actions ? h("div", { class: "actions" }, block.actions.map((one) => element(one, block, surface))) : null,
  );
}

function container(block, surface) {
  const title = block.rich_text_title ? rich(block.rich_text_title.elements, surface.store) : words(block.title, surface);
  const subtitle = block.subtitle ? h("span", { class: "subtitle" }, words(block.subtitle, surface)) : null;
  const children = drawBlocks(block.child_blocks, surface);
  if (!block.is_collapsible) {
    return h("div", { class: "block container" }, h("p", { class: "container-title" }, title, subtitle), children);
  }
  return h(
    "details",
    { class: "block container", open: !block.default_collapsed },
    h("summary", { class: "container-title" }, title, subtitle),
    children,
  );
}

const TASK_WORDS = { pending: "pending", in_progress: "in progress", complete: "complete", error: "failed" };

function taskCard(task, surface) {
  return h(
    "div",
    { class: `task task-${task.status}` },
    h("span", { class: "task-state" }, TASK_WORDS[task.status]),
    h("span", { class: "task-title" }, task.title),
    task.details ? h("div", { class: "task-details" }, rich(task.details.elements, surface.store)) : null,
    task.output ? h("div", { class: "task-details" }, rich(task.output.elements, surface.store)) : null,
  );
}
