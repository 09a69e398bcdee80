// The two networks, drawn alike: load as colour, width and text; what is down or not met, in words.

import { h, percent, s, say, show } from "./dom.js";

const WIDTH = 640;
const MARGIN = 54;
const NAMED_UP_TO = 40;
const TOLD = 4; // links whose load stands beside them
const BUSY = 0.6; // from here on
const LISTED = 200; // links in the table
const STEPS = [0.3, 0.6, 0.8, 0.95];
export const SCALE = ["below 30 %", "30 to 60 %", "60 to 80 %", "80 to 95 %", "95 % and more"];

const level = (load) => STEPS.filter((step) => load >= step).length;
const rate = (bps) => (bps ? ` of ${bps >= 1e9 ? `${bps / 1e9} Gbit/s` : `${bps / 1e6} Mbit/s`}` : "");

/** A panel for one network; `update(seen)` shows what is seen of it now. */
export function panel(name, map) {
  const title = name === "production" ? "Production" : "Shadow";
  const verdict = h("p", { class: "verdict" });
  const unmet = h("ul", { class: "unmet" });
  const busiest = h("ul", { class: "busiest" });
  const rows = h("tbody");
  const drawing = map.drawn ? draw(map) : null;
  const element = h("section", { class: "card network", "aria-labelledby": `${name}-title`, "data-network": name },
    h("div", { class: "head" }, h("h2", { id: `${name}-title` }, title), verdict),
    drawing ? drawing.element : h("p", { class: "soft" }, `${map.devices.length} devices are too many to draw.`),
    unmet, h("h3", {}, "Busiest links"), busiest,
    h("details", {}, h("summary", {}, map.links.length > LISTED ? `The ${LISTED} busiest of ${map.links.length} links` : `All ${map.links.length} links`),
      h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": `All links of ${name}` },
        h("table", {}, h("thead", {}, h("tr", {}, ...["link", "there", "back", ""].map((c) => h("th", { scope: "col" }, c)))), rows))));

  function update(seen) {
    const links = map.links.map((link, i) => state(link, i, seen));
    const known = links.filter((link) => link.load !== null && !link.down);
    known.sort((one, other) => other.load - one.load);
    const down = links.filter((link) => link.down);
    drawing?.update(links, seen, new Set(known.slice(0, TOLD).filter((l) => l.load >= BUSY).map((l) => l.number)));
    const trouble = seen.unmet.length;
    const told = trouble ? `✗ ${trouble} not met` : seen.load.length ? "✓ all intents and limits hold" : "not there yet";
    verdict.className = `verdict tag ${trouble ? "bad" : seen.load.length ? "good" : "fair"}`;
    say(verdict, told);
    show(unmet, seen.unmet, (names) => names.map((text) => h("li", {}, h("span", { "aria-hidden": "true" }, "✗ "), text)));
    show(busiest, [down, known.slice(0, TOLD)], () => [
      ...down.slice(0, 6).map((link) => item(link, "down")),
      ...known.slice(0, TOLD).map((link) => item(link, percent(link.load))),
    ]);
    show(rows, links, () => [...links].sort((a, b) => (b.load ?? -1) - (a.load ?? -1)).slice(0, LISTED).map(row));
    if (drawing) {
      const top = known[0] ? `busiest link ${known[0].name} at ${percent(known[0].load)}` : "no reading of its links yet";
      const dark = down.length ? `, down: ${down.map((link) => link.name).join(", ")}` : "";
      const changed = seen.changed.length ? `, with the change: ${seen.changed.join(", ")}` : "";
      drawing.element.setAttribute("aria-label", `${title}: ${told.replace(/^[✓✗] /, "")}; ${top}${dark}${changed}`);
    }
  }
  return { element, update };
}

function state(link, number, seen) {
  const there = seen.load[2 * number] ?? null;
  const back = seen.load[2 * number + 1] ?? null;
  const known = [there, back].filter((load) => load !== null);
  return {
    number, there, back, name: `${link.a} – ${link.b}`, rate: rate(link.rate_bps),
    load: known.length ? Math.max(...known) : null,
    down: seen.down.includes(2 * number) || seen.down.includes(2 * number + 1),
  };
}

const item = (link, text) => h("li", {},
  h("span", { class: "name" }, link.name),
  h("span", { class: `meter l${link.down ? "x" : level(link.load)}` }, bar(link)),
  h("span", { class: "n" }, text));

function bar(link) {
  const full = h("i");
  full.style.width = `${link.down ? 0 : Math.min(100, 100 * link.load)}%`;
  return full;
}

const row = (link) => h("tr", {}, h("th", { scope: "row" }, link.name), h("td", { class: "n" }, percent(link.there)),
  h("td", { class: "n" }, percent(link.back)), h("td", {}, link.down ? "down" : ""));

// -- the drawing ---------------------------------------------------------------------------------

function draw(map) {
  const xs = map.devices.map((d) => d.x);
  const ys = map.devices.map((d) => d.y);
  const wide = Math.max(Math.max(...xs) - Math.min(...xs), 0.25);
  const tall = Math.max(Math.max(...ys) - Math.min(...ys), 0.12);
  const scale = (WIDTH - 2 * MARGIN) / wide;
  const height = Math.min(460, Math.max(230, tall * scale + 2 * MARGIN));
  const stretch = Math.min((height - 2 * MARGIN) / tall, scale);
  const places = new Map(map.devices.map((d) => [d.name, [WIDTH / 2 + d.x * scale, height / 2 - d.y * stretch]]));
  const lines = map.links.map((link) => {
    const [[x1, y1], [x2, y2]] = [places.get(link.a), places.get(link.b)];
    return { x: (x1 + x2) / 2, y: (y1 + y2) / 2, tip: s("title"),
      line: s("line", { x1, y1, x2, y2 }), text: s("text", { x: (x1 + x2) / 2, y: (y1 + y2) / 2 + 4, class: "load" }) };
  });
  for (const line of lines) line.line.append(line.tip);
  const size = map.devices.length > 80 ? 3.5 : map.devices.length > NAMED_UP_TO ? 5 : 7;
  const nodes = new Map(map.devices.map((d) => [d.name, node(d, places.get(d.name), size)]));
  const names = map.devices.length <= NAMED_UP_TO ? labels(map, places) : [];
  const element = s("svg", { viewBox: `0 0 ${WIDTH} ${height}`, role: "img", class: "topology" },
    s("g", { class: "links" }, ...lines.map((l) => l.line)), s("g", {}, ...[...nodes.values()].map((n) => n.group)),
    s("g", { class: "names" }, ...names), s("g", {}, ...lines.map((l) => l.text)));

  function update(links, seen, told) {
    links.forEach((link, i) => {
      const { line, text, tip } = lines[i];
      const kind = link.down ? "lx" : link.load === null ? "lu" : `l${level(link.load)}`;
      if (line.getAttribute("class") !== kind) line.setAttribute("class", kind);
      line.setAttribute("stroke-width", link.down || link.load === null ? 2 : (2 + 7 * Math.min(link.load, 1.2)).toFixed(1));
      say(text, link.down ? "✕ down" : told.has(i) ? percent(link.load) : "");
      text.setAttribute("class", `load ${kind}`);
      say(tip, link.down ? `${link.name}: down` : `${link.name}${link.rate}: ${percent(link.there)} there, ${percent(link.back)} back`);
    });
    for (const [name, one] of nodes) {
      const kind = seen.restored.includes(name) ? "restored" : seen.changed.includes(name) ? "changed" : "";
      if (one.group.getAttribute("class") !== `node ${kind}`) one.group.setAttribute("class", `node ${kind}`);
      say(one.tip, `${name}${kind === "changed" ? ": has the change" : kind ? ": the change was taken back" : ""}`);
    }
  }
  return { element, update };
}

function node(device, [x, y], size) {
  const tip = s("title");
  const group = s("g", { class: "node", transform: `translate(${x.toFixed(1)} ${y.toFixed(1)})` }, tip,
    s("circle", { class: "plain", r: size }),
    s("rect", { class: "ring", x: -size - 4, y: -size - 4, width: 2 * size + 8, height: 2 * size + 8, rx: 4 }),
    s("text", { class: "sign", y: 4.5 }));
  return { group, tip };
}

/** Names beside the devices, where they cover the fewest links, devices and other names. */
function labels(map, places) {
  const dots = map.links.flatMap(({ a, b }) => {
    const [[x1, y1], [x2, y2]] = [places.get(a), places.get(b)];
    return Array.from({ length: 24 }, (_, i) => [x1 + ((x2 - x1) * i) / 23, y1 + ((y2 - y1) * i) / 23]);
  });
  const taken = [...places.values()].map(([x, y]) => [x - 9, y - 9, x + 9, y + 9]);
  return map.devices.map(({ name }) => {
    const [x, y] = places.get(name);
    const width = 7.2 * name.length + 2;
    const spots = [[x, y - 14, "middle"], [x, y + 25, "middle"], [x + 13, y + 4, "start"], [x - 13, y + 4, "end"],
      [x + 10, y - 10, "start"], [x - 10, y - 10, "end"], [x + 10, y + 20, "start"], [x - 10, y + 20, "end"]];
    const cost = ([left, base, anchor]) => {
      const x0 = anchor === "middle" ? left - width / 2 : anchor === "start" ? left : left - width;
      const box = [x0, base - 12, x0 + width, base + 3];
      const over = taken.filter((t) => t[0] < box[2] && t[2] > box[0] && t[1] < box[3] && t[3] > box[1]).length;
      const crossed = dots.filter(([dx, dy]) => dx > box[0] && dx < box[2] && dy > box[1] && dy < box[3]).length;
      return { box, cost: 30 * over + crossed + (x0 < 2 || x0 + width > WIDTH - 2 ? 100 : 0) };
    };
    const [spot, best] = spots.map((one) => [one, cost(one)]).reduce((a, b) => (b[1].cost < a[1].cost ? b : a));
    taken.push(best.box);
    return s("text", { x: spot[0].toFixed(1), y: spot[1].toFixed(1), "text-anchor": spot[2] }, name);
  });
}

/** What colours, widths and marks mean. */
export const legend = () => [
  h("span", { class: "soft" }, "Load of the busier direction:"),
  ...SCALE.map((text, i) => h("span", {}, h("i", { class: `swatch l${i}` }), text)),
  h("span", {}, h("i", { class: "swatch lx" }), "down"),
  h("span", {}, h("i", { class: "swatch mark" }), "has the change"),
  h("span", {}, h("i", { class: "swatch mark restored" }), "taken back"),
];
