// The other parts of a run: phases, the question, the rollback ticked off, what happened, the end.

import { badge, h, seconds, words } from "./dom.js";

const MARK = { done: "✓", now: "", ahead: "", "not reached": "–" };

export const phases = (found) => found.map((phase) => h("li",
  { "data-state": phase.state, "aria-current": phase.state === "now" ? "step" : null },
  h("span", { class: "number", "aria-hidden": "true" }, MARK[phase.state] || String(phase.number)),
  h("span", { class: "name" }, phase.name),
  h("span", { class: "soft small" }, span(phase))));

function span({ state, from_s, to_s }) {
  if (from_s === null) return state;
  return state === "now" ? `now, since ${seconds(from_s)}` : `${seconds(to_s - from_s)}, from ${seconds(from_s)}`;
}

const ASKED = {
  deploy: ["Approve: deploy it", "Refuse", "nothing is deployed"],
  "roll back": ["Approve: roll back", "Refuse: keep the change", "it is taken back"],
};

const capital = (text) => text.slice(0, 1).toUpperCase() + text.slice(1);

/** What a run asks a person. `answer(number, approve)` sends what they say. */
export function question(asked, mayAnswer, answer) {
  if (!asked) return [];
  const [yes, no, otherwise] = ASKED[asked.kind] ?? ["Approve", "Refuse", "it goes no further"];
  const button = (text, approve, kind) => h("button", { type: "button", class: kind, disabled: !mayAnswer, on: { click: (event) => {
    for (const one of event.target.parentElement.querySelectorAll("button")) one.disabled = true;
    answer(asked.number, approve);
  } } }, text);
  const minutes = asked.within_s === null ? "" : ` Without an answer within ${Math.floor(asked.within_s / 60)} minutes ${otherwise}.`;
  return [h("section", { class: "question", "aria-labelledby": "question-title" },
    h("div", {}, h("p", { class: "kind" }, "shadowsim asks"),
      h("h2", { id: "question-title" }, capital(words(asked.text))),
      h("p", { class: "soft" }, mayAnswer ? `The run waits for you.${minutes}` : "This page only watches. Answer at the terminal, or start it with --writes.")),
    h("div", { class: "answers" }, button(yes, true, "yes"), button(no, false, "no")),
    h("p", { class: "bad", id: "answer-failed", role: "alert" }))];
}

const HELD = {
  armed: ["good", "armed"], "under way": ["wary", "under way"], verified: ["fair", "✓ rolled back and verified"],
  "configs verified": ["wary", "↺ rolled back, configs verified"],
  "not verified": ["bad", "✗ not verified"], "not needed": ["good", "✓ not needed"],
};
const STEP = { ready: ["○", "held ready"], "under way": ["◐", "under way"], done: ["✓", "done"], skipped: ["✓", "nothing left to do"] };

/** The rollback signature, its steps ticked off as they are carried out. */
export function plan(found, rehearsals) {
  const tried = rehearsals.length ? [h("p", { class: "soft small" },
    `${rehearsals.filter((r) => r.verified).length} of ${rehearsals.length} plans verified in a rehearsal in the shadow.`)] : [];
  if (!found) return [h("p", { class: "soft" }, "None is armed: production has not been touched."), ...tried];
  const [tone, text] = HELD[found.state] ?? ["fair", found.state];
  const over = found.steps.filter((step) => step.state === "done" || step.state === "skipped").length;
  return [
    h("p", {}, h("span", { class: `tag ${tone}` }, text), " ", h("code", {}, found.signature), " ",
      found.scope === "blamed" ? "takes back the blamed part" : "takes back the whole change",
      found.state === "armed" || found.state === "not needed" ? "." : `: ${over} of ${found.steps.length} done.`),
    h("ol", { class: "steps" }, ...found.steps.map(step)), ...tried];
}

function step(one) {
  const [sign, text] = STEP[one.state] ?? ["✗", one.state];
  return h("li", { "data-state": one.state },
    h("span", { class: "tick", "aria-hidden": "true" }, sign),
    h("div", {}, h("p", {}, h("b", {}, one.device), " ", h("span", { class: "soft small" },
      one.depends_on.length ? `${one.name}, after ${one.depends_on.join(", ")}` : one.name)),
    ...one.commands.map((line) => h("code", { class: "line" }, line))),
    h("span", { class: "how" }, text));
}

export const told = (found) => [...found].reverse().map((one) => h("li", { class: one.strong ? "strong" : null },
  h("span", { class: "at" }, seconds(one.at_s)),
  h("div", {}, h("span", {}, one.text), one.why.length ? h("ul", {}, ...one.why.map((text) => h("li", {}, text))) : null)));

/** The state of a run at a glance. */
export function state(view) {
  const { outcome, end, decision, question: asked, at_s: at } = view;
  const clock = h("p", { class: "clock" }, h("span", { class: "unseen" }, "Time of the network "), seconds(at));
  if (!end.ended) {
    const word = asked ? "waits for an answer" : decision.decision ? `decision: ${decision.decision}` : "under way";
    return [clock, h("span", { class: `badge ${asked ? "wary" : "fair"}` }, word)];
  }
  const facts = [badge(end.end_state)];
  if (outcome?.time_to_rollback_s !== null && outcome) facts.push(h("p", {}, `back in ${seconds(outcome.time_to_rollback_s)}`));
  if (outcome) facts.push(h("p", { class: "soft small" }, `production in breach for ${seconds(outcome.breach_s)}`));
  return [clock, ...facts];
}
