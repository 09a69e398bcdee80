// What PreCog said over time: a small chart for each failure mode, production beside shadow.

import { h, percent, s, show, words } from "./dom.js";

const [W, H, L, R, T, B] = [360, 150, 42, 14, 12, 22];

/** The charts; `update(view)` draws what was said until now. */
export function charts(modes) {
  const made = modes.map((mode, i) => chart(mode, i + 1));
  return { elements: made.map((one) => one.element), update: (view) => made.forEach((one) => one.update(view)) };
}

function chart(mode, column) {
  const svg = s("svg", { viewBox: `0 0 ${W} ${H}`, role: "img", class: "chart" });
  const now = h("p", { class: "now" });
  const element = h("figure", {}, h("figcaption", {}, words(mode)), now, svg);

  function update(view) {
    const end = Math.max(view.until_s ?? 0, view.at_s, 10);
    const series = Object.fromEntries(["shadow", "production"].map((n) => [n, view.forecast[n].series.map((p) => [p[0], p[column]])]));
    const value = (name) => series[name].at(-1)?.[1];
    const told = ["production", "shadow"].filter((n) => series[n].length).map((n) => `${n} ${percent(value(n))}`);
    show(now, told, () => (told.length ? told.map((text) => h("span", {}, h("i", { class: `key ${text.split(" ")[0]}` }), text)) : ["nothing said yet"]));
    svg.setAttribute("aria-label", `${words(mode)} over time; now ${told.join(", ") || "nothing said yet"}`);
    show(svg, [series, end, view.about.no_go_above], () => drawing(series, end, view));
  }
  return { element, update };
}

function drawing(series, end, view) {
  const x = (at) => L + ((W - L - R) * at) / end;
  const y = (p) => H - B - (H - T - B) * p;
  const gate = view.about.no_go_above;
  const production = view.phases.find((phase) => phase.number === 4)?.from_s ?? null;
  return [
    production === null ? [] : [s("rect", { class: "band", x: x(production), y: T, width: Math.max(0, x(end) - x(production)), height: H - T - B })],
    [0, 0.5, 1].map((p) => [
      s("line", { class: "grid", x1: L, x2: W - R, y1: y(p), y2: y(p) }),
      s("text", { class: "tick", x: L - 6, y: y(p) + 4, "text-anchor": "end" }, `${100 * p}%`)]),
    ticks(end).map((at) => s("text", { class: "tick", x: x(at), y: H - 6, "text-anchor": "middle" }, `${at} s`)),
    gate === null ? [] : [s("line", { class: "gate", x1: L, x2: W - R, y1: y(gate), y2: y(gate) }),
      s("text", { class: "tick", x: W - R, y: y(gate) - 5, "text-anchor": "end" }, `no go from ${Math.round(100 * gate)}%`)],
    ["shadow", "production"].flatMap((name) => curve(name, series[name], x, y)),
  ].flat(3);
}

function curve(name, points, x, y) {
  const known = points.filter(([, p]) => p !== null);
  if (!known.length) return [];
  const path = points.map(([at, p], i) => (p === null ? "" : `${i && points[i - 1][1] !== null ? "L" : "M"}${x(at).toFixed(1)} ${y(p).toFixed(1)}`));
  const [at, p] = known.at(-1);
  return [s("path", { class: `curve ${name}`, d: path.join("") }), s("circle", { class: `end ${name}`, cx: x(at), cy: y(p), r: 3.5 })];
}

function ticks(end) {
  const step = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000].find((size) => end / size <= 6) ?? end;
  return Array.from({ length: Math.floor(end / step) + 1 }, (_, i) => i * step);
}

/** The reasons of the last forecast of the network that decides now. */
export function because(view) {
  const where = view.forecast.production.series.length ? "production" : "shadow";
  const reasons = view.forecast[where].because;
  if (!reasons.length) return [h("li", { class: "soft" }, `PreCog sees nothing to be concerned about in ${where}.`)];
  return reasons.map((r) => h("li", {}, h("span", { class: "share" }, percent(r.probability)),
    h("span", {}, h("b", {}, words(r.mode)), ` ${r.text} `, h("span", { class: "soft" }, `${r.variant}, ${where}`))));
}
