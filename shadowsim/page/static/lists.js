// Past runs, and what they add up to: tables.

import { badge, h, seconds, words } from "./dom.js";

const table = (label, columns, rows) => h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": label },
  h("table", {}, h("thead", {}, h("tr", {}, ...columns.map((c) => h("th", { scope: "col" }, c)))), h("tbody", {}, ...rows)));

export function runs(found) {
  const head = h("header", { class: "about" }, h("div", {}, h("h1", { tabindex: "-1" }, "Past runs"),
    h("p", { class: "soft" }, "Open one to go through it second by second.")));
  if (!found.length) return [head, h("p", { class: "card" }, "None yet: 'shadowsim run SCENARIO' makes some.")];
  const columns = ["run", "change", "decision", "ended", "failure foreseen", "back in", "as expected"];
  return [head, h("section", { class: "card" }, table("Past runs", columns, found.map(row)))];
}

function row(one) {
  const name = h("th", { scope: "row" }, h("a", { href: `#/runs/${encodeURIComponent(one.run)}` }, one.run));
  if (one.error) return h("tr", {}, name, h("td", { colspan: "6", class: "soft" }, one.error));
  const { outcome } = one;
  const met = outcome.expected ? (outcome.met ? "✓ yes" : "✗ no") : "nothing expected";
  return h("tr", {}, name, h("td", {}, one.change), h("td", {}, outcome.decision), h("td", {}, badge(outcome.end_state)),
    h("td", {}, words(outcome.failure_mode)), h("td", { class: "n" }, seconds(outcome.time_to_rollback_s)), h("td", {}, met));
}

export function analytics(found) {
  const cell = (value) => (value === null ? "" : typeof value === "number" ? String(Number(value.toPrecision(3))) : words(value));
  return [
    h("header", { class: "about" }, h("div", {}, h("h1", { tabindex: "-1" }, "Analytics"),
      h("p", { class: "soft" }, found.runs === 1 ? "What one run says." : `What ${found.runs} runs add up to.`))),
    ...(found.runs ? [h("figure", { class: "card", id: "figure" })] : []),
    ...found.tables.filter((one) => one.rows.length).map((one) => h("section", { class: "card" }, h("h2", {}, one.title),
      table(one.title, one.columns, one.rows.map((cells) => h("tr", {}, ...cells.map((value) =>
        h("td", { class: typeof value === "number" ? "n" : null }, cell(value)))))))),
  ];
}
