// Shows an answer: its text with citations as buttons, its sources, notes and actions.

import { call } from "./api.js";
import { button, el, icon, say, shortName } from "./dom.js";
import { openPassage } from "./reader.js";
import { openWhy } from "./why.js";

const MARK = /\[(\d{1,3}(?:\s*,\s*\d{1,3})*)\]/g;
const INLINE = /`([^`\n]+)`|\*\*([^*\n]+)\*\*/g;

function chip(n, citations) {
  const found = citations.find((one) => one.n === n);
  if (!found) return document.createTextNode(`[${n}]`);
  const where = shortName(found.document) || "unknown passage";
  const label = `Source ${n}: ${where}${found.supported ? "" : `, not supported: ${found.reason}`}`;
  const act = (event) => openPassage(found, event.currentTarget);
  return el("button", {
    type: "button", class: found.supported ? "chip" : "chip doubt", title: label, "aria-label": label,
    disabled: !found.document, on: { click: act },
  }, String(n));
}

function marked(text, citations) {
  const nodes = [];
  let at = 0;
  for (const match of text.matchAll(MARK)) {
    nodes.push(text.slice(at, match.index), ...match[1].split(",").map((n) => chip(Number(n), citations)));
    at = match.index + match[0].length;
  }
  nodes.push(text.slice(at));
  return nodes;
}

function inline(text, citations) {
  const nodes = [];
  let at = 0;
  for (const match of text.matchAll(INLINE)) {
    nodes.push(...marked(text.slice(at, match.index), citations));
    nodes.push(match[1] ? el("code", {}, match[1]) : el("strong", {}, ...marked(match[2], citations)));
    at = match.index + match[0].length;
  }
  nodes.push(...marked(text.slice(at), citations));
  return nodes;
}

// Renders a part of Markdown: fenced code, `code` and **strong**. Everything else stays plain text.
export function prose(text, citations = []) {
  return text.split(/^```.*$/m).flatMap((part, n) =>
    n % 2 === 1
      ? [el("pre", { tabindex: 0 }, el("code", {}, part.replace(/^\n|\n$/g, "")))]
      : part.split(/\n{2,}/).filter((one) => one.trim()).map((one) => el("p", {}, ...inline(one.trim(), citations))));
}

function sources(turn) {
  const cited = turn.citations.filter((one) => one.document);
  if (!cited.length) return null;
  return el("ul", { class: "sources", "aria-label": "Sources" }, cited.map((one) =>
    el("li", {}, el("button", {
      type: "button", class: one.supported ? "source" : "source doubt",
      on: { click: (event) => openPassage(one, event.currentTarget) },
    }, el("span", { class: "n" }, String(one.n)), el("span", { class: "from" }, shortName(one.document)),
    el("span", { class: "quote" }, one.quote.replace(/\s+/g, " ").slice(0, 180))))));
}

function thumbs(turn) {
  const up = button("up", "Good answer", () => rate("up"));
  const down = button("down", "Bad answer", () => rate("down"));
  const form = el("form", { class: "correct", hidden: true },
    el("label", {}, "What is the right answer? ", el("textarea", { rows: 2, name: "correction" })),
    el("div", { class: "row" }, el("button", { type: "submit" }, "Save"),
      el("button", { type: "button", class: "plain small", on: { click: () => { form.hidden = true; } } }, "Not now")));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    await send({ rating: "down", correction: form.elements.correction.value });
    form.hidden = true;
    down.focus();
  });
  const show = () => {
    up.setAttribute("aria-pressed", String(turn.rating === "up"));
    down.setAttribute("aria-pressed", String(turn.rating === "down"));
  };
  async function send(values) {
    try {
      await call("POST", "/api/feedback", { trace: turn.trace, ...values });
      turn.rating = values.rating === "none" ? null : values.rating;
      say(turn.rating ? "Rating saved" : "Rating withdrawn");
    } catch (error) {
      say(error.message);
    }
    show();
  }
  async function rate(which) {
    const rating = turn.rating === which ? "none" : which;
    form.hidden = rating !== "down";
    await send({ rating });
    if (!form.hidden) form.elements.correction.focus();
  }
  show();
  return { buttons: [up, down], form };
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    say("Copied");
  } catch {
    say("The browser does not allow this page to copy");
  }
}

// Returns a complete answer. `retry` asks the question again; null where that is not possible.
export function answer(turn, retry) {
  const notes = [...(turn.notes ?? []), ...turn.unsupported.map((one) => `not supported by the passages: ${one}`)];
  const { buttons, form } = turn.trace ? thumbs(turn) : { buttons: [], form: null };
  return el("div", { class: turn.abstained ? "answer abstained" : "answer" },
    el("div", { class: "text" }, ...prose(turn.text || "No answer.", turn.citations)),
    sources(turn),
    notes.length ? el("ul", { class: "notes", "aria-label": "Notes" }, notes.map((one) => el("li", {}, one))) : null,
    el("div", { class: "actions" }, button("copy", "Copy", () => copy(turn.text)), buttons,
      retry ? button("retry", "Ask again", retry) : null,
      turn.trace ? el("button", {
        type: "button", class: "plain why", on: { click: (event) => openWhy(turn.trace, event.currentTarget) },
      }, icon("why"), "Why this answer?") : null),
    form);
}
