// The page: where one is (live, a past run, lists), and the view of that shown part by part.

import { $, h, say, seconds, show } from "./dom.js";
import { because, charts } from "./forecast.js";
import * as lists from "./lists.js";
import { legend, panel } from "./networks.js";
import * as parts from "./parts.js";
import { answer, ask, follow, picture, takeToken } from "./server.js";

const NOBODY = "No run is going on. Start one with 'shadowsim serve SCENARIO', or look at past runs.";
const NO_TOKEN = "This page is for whoever started it: open the address that 'shadowsim serve' has printed.";
const live = {};
let drawn = null; // what the panels and charts were made for
let place = "";

// -- a run ---------------------------------------------------------------------------------------

function render(view) {
  const there = Boolean(view?.about);
  $("run").hidden = !there;
  if (!there) return;
  const { about } = view;
  document.title = `${view.question && view.live ? "Waits for you: " : ""}${about.scenario} · shadowsim`;
  say($("kind"), view.live ? "Live run" : place.startsWith("/runs/") ? "Past run" : "The last run");
  say($("title"), about.scenario);
  say($("change"), about.change);
  say($("summary"), about.summary);
  say($("facts"), `network ${about.network} · PreCog ${about.precog} · autonomy ${about.autonomy} · seed ${about.seed} · topology ${view.map.name}`);
  show($("state"), [view.at_s, view.end, view.decision, view.outcome, view.question], () => parts.state(view));
  show($("phases"), view.phases, parts.phases);
  const made = panels(view);
  made.production.update(view.production);
  made.shadow.update(view.shadow);
  made.charts.update(view);
  say($("forecast-note"), "The probability that it fails within the horizon, as PreCog saw it then. Shaded: production has the change.");
  show($("because"), view.forecast, () => because(view));
  show($("plan"), [view.plan, view.rehearsals], () => parts.plan(view.plan, view.rehearsals));
  show($("told"), view.told, parts.told);
  show($("question"), [place ? null : view.question, view.may_answer], ([asked, may]) => parts.question(asked, may, send));
  announce(view);
}

function panels(view) {
  const key = JSON.stringify([view.map, view.forecast.modes]);
  if (drawn?.key !== key) {
    drawn = { key, production: panel("production", view.map), shadow: panel("shadow", view.map), charts: charts(view.forecast.modes) };
    $("networks").replaceChildren(drawn.production.element, drawn.shadow.element);
    $("charts").replaceChildren(...drawn.charts.elements);
    $("legend").replaceChildren(...legend());
  }
  return drawn;
}

/** What a screen reader hears: the last thing that happened, once. */
function announce(view) {
  const last = view.told.at(-1);
  if (last && view.live) say($("said"), `${seconds(last.at_s)}: ${last.text}`);
}

async function send(number, approve) {
  try {
    await answer(number, approve);
  } catch (error) {
    const failed = $("answer-failed");
    if (failed) say(failed, error.message);
  }
}

// -- past runs -----------------------------------------------------------------------------------

const replay = { run: "", marks: [], wanted: null, busy: false };

async function open(run, at) {
  const view = await ask(`/runs/${encodeURIComponent(run)}${at === null ? "" : `?at_s=${at}`}`);
  if (place !== `/runs/${encodeURIComponent(run)}`) return;
  Object.assign(replay, { run, marks: view.marks });
  const when = $("when");
  when.max = view.until_s;
  if (at === null) when.value = view.until_s;
  when.setAttribute("aria-valuetext", seconds(view.at_s));
  say($("at"), `${seconds(view.at_s)} of ${seconds(view.until_s)}`);
  $("replay").hidden = false;
  render({ ...view, may_answer: false });
}

/** Show the instant that the slider stands at; of many that are asked for at once, the last. */
async function seek(at) {
  replay.wanted = at;
  if (replay.busy) return;
  replay.busy = true;
  try {
    while (replay.wanted !== null) {
      const next = replay.wanted;
      replay.wanted = null;
      await open(replay.run, next);
    }
  } catch (error) {
    notice(error.message);
  } finally {
    replay.busy = false;
  }
}

function jump(forward) {
  const when = $("when");
  const now = Number(when.value);
  const found = forward ? replay.marks.find((at) => at > now + 0.05) : replay.marks.findLast((at) => at < now - 0.05);
  when.value = found ?? (forward ? when.max : 0);
  seek(Number(when.value));
}

// -- where one is --------------------------------------------------------------------------------

function notice(text) {
  say($("notice"), text);
  $("notice").hidden = !text;
}

async function go() {
  place = location.hash.replace(/^#\/?$/, "").replace(/^#/, "");
  const page = place.startsWith("/runs") ? "runs" : place === "/analytics" ? "analytics" : "live";
  for (const link of document.querySelectorAll("nav a")) {
    if (link.dataset.page === page) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  $("list").hidden = page === "live" || place.startsWith("/runs/");
  $("list").replaceChildren();
  $("run").hidden = true;
  $("replay").hidden = true;
  show($("question"), null, () => []);
  notice("");
  say($("facts"), "");
  try {
    if (page === "live") showLive();
    else if (place.startsWith("/runs/")) await open(decodeURIComponent(place.slice(6)), null);
    else await list(page);
  } catch (error) {
    notice(error.status === 401 ? NO_TOKEN : error.message);
  }
  if (document.activeElement === document.body) $("main").focus(); // what led here is gone
}

async function list(page) {
  document.title = `${page === "runs" ? "Past runs" : "Analytics"} · shadowsim`;
  if (page === "runs") {
    const found = await ask("/runs");
    if (place === "/runs") $("list").replaceChildren(...lists.runs(found));
    return;
  }
  const found = await ask("/analytics");
  if (place === "/analytics") $("list").replaceChildren(...lists.analytics(found));
  const figure = $("figure");
  if (figure) figure.append(h("img", { src: await picture("/analytics.svg"), alt: "The tables below as five panels." }));
}

/** The list once more, and whoever stood on one of its links stands there still. */
async function anew() {
  const at = document.activeElement?.getAttribute("href");
  await list(place.slice(1));
  if (at?.startsWith("#")) $("list").querySelector(`[href="${CSS.escape(at)}"]`)?.focus();
}

function showLive() {
  notice(live.lost ? `This page has lost track of the run, which goes on: ${live.lost}` : live.about ? "" : NOBODY);
  render(live);
}

function linked(how) {
  const link = $("link");
  link.dataset.state = how;
  say(link, how);
  if (how === "no token") notice(NO_TOKEN);
}

function news(changes) {
  const recorded = live.live && changes.live === false; // what it came to is among past runs now
  Object.assign(live, changes);
  say($("live"), live.question ? "Live: waits for you" : "Live"); // wherever one is just now
  $("live").classList.toggle("asks", Boolean(live.question));
  if (!place) showLive();
  else if (recorded && ["/runs", "/analytics"].includes(place)) anew().catch((error) => notice(error.message));
}

takeToken();
addEventListener("hashchange", go);
document.querySelector("[data-skip]").addEventListener("click", (event) => { event.preventDefault(); $("main").focus(); });
$("when").addEventListener("input", (event) => seek(Number(event.target.value)));
$("back").addEventListener("click", () => jump(false));
$("on").addEventListener("click", () => jump(true));
go();
follow(news, linked);
