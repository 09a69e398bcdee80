// Values to elements. Text only ever becomes text: nothing here, or elsewhere, parses HTML.

const SVG = "http://www.w3.org/2000/svg";

export const $ = (id) => document.getElementById(id);

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (name === "on") for (const [what, how] of Object.entries(value)) element.addEventListener(what, how);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** An element of HTML with attributes and children; a string becomes text. */
export const h = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);

/** The same of SVG. */
export const s = (tag, attributes, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);

const shown = new WeakMap();

/** Put up what `build` makes of `value`, unless that very value stands there already. */
export function show(element, value, build) {
  const text = JSON.stringify(value);
  if (shown.get(element) === text) return;
  shown.set(element, text);
  element.replaceChildren(...[build(value)].flat());
}

/** Set a text, unless it stands there already: what does not change is not read out again. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export const words = (name) => String(name ?? "").replaceAll("_", " ");
export const percent = (share) => (share === null || share === undefined ? "not known" : `${Math.round(100 * share)} %`);
export const seconds = (value) =>
  value === null || value === undefined ? "–" : `${value.toLocaleString("en", { minimumFractionDigits: 1, maximumFractionDigits: 1 })} s`;

const STATES = {
  confirmed: ["good", "✓"], rolled_back: ["fair", "↺"], refused: ["wary", "⊘"], halted: ["bad", "!"],
};

/** How a run ended: a sign, a word and a tone, so that it does not hang on colour. */
export function badge(state) {
  const [tone, sign] = STATES[state] ?? ["fair", "•"];
  return h("span", { class: `badge ${tone}` }, h("span", { "aria-hidden": "true" }, sign), ` ${words(state)}`);
}
