// The conversation in the middle of the page.

import { ask, call, decide, session } from "./api.js";
import { answer, prose } from "./answer.js";
import { approvalForm } from "./decide.js";
import { button, byId, el, icon, say, shortName } from "./dom.js";

const STEP_TEXTS = {
  condense: "Reading the question", retrieve: "Searching", rerank: "Ranking passages", expand: "Expanding passages",
  extract: "Looking for the answer", answer: "Writing", generate: "Writing", ground: "Checking the citations", refine: "Refining", agent: "The agent is working",
};
let current = null;
let running = null;
let turns = [];
let waiting = null;
let onTurnEnd = () => {};

export const isRunning = () => running !== null;
const scroller = () => byId("scroll");
const atEnd = () => scroller().scrollHeight - scroller().scrollTop - scroller().clientHeight < 120;
function toEnd() { scroller().scrollTop = scroller().scrollHeight; }

function busy(on) {
  byId("send").hidden = on;
  byId("stop").hidden = !on;
  byId("talk").setAttribute("aria-busy", String(on));
}

const question = (text) => el("div", { class: "question" }, el("span", { class: "hidden" }, "You asked: "), text);

function show() {
  const talk = byId("talk");
  talk.replaceChildren(...turns.map((turn, n) => el("article", { "aria-label": `Turn ${n + 1}` }, question(turn.question),
    answer(turn, n === turns.length - 1 ? () => again(turn.question) : null))));
  if (waiting) {
    const box = el("div", { class: "answer" });
    talk.append(el("article", { "aria-label": `Turn ${turns.length + 1}` }, question(waiting.question), box));
    showWaiting(box, waiting);
  } else if (!turns.length) talk.append(welcome());
  toEnd();
}

// Shows calls that wait for a decision, in the box where the answer will be.
function showWaiting(box, pending) {
  waiting = pending;
  box.append(approvalForm(pending, (decisions) => {
    if (running) return;
    waiting = null;
    box.replaceChildren();
    follow(pending.question, box, (signal) => decide(current, pending.wait, decisions, signal));
  }));
  say("The agent needs your decision on a call");
}

let documents = 0;
export function setDocuments(count) {
  documents = count;
  const box = document.querySelector(".welcome");
  if (box) box.replaceWith(welcome());
}

function welcome() {
  return documents
    ? el("div", { class: "welcome" }, el("h1", {}, "Ask your documents"),
        el("p", {}, "Every answer cites the passages that support it. Where the documents do not hold the answer, it says so."))
    : el("div", { class: "welcome" }, el("h1", {}, "Add your documents"),
        el("p", {}, "Drop files here: PDF, Word, slides, tables, e-mail, Markdown, HTML and more. They are stored on the server you opened this page from."),
        el("button", { type: "button", class: "big", on: { click: () => byId("picker").click() } }, icon("plus"), "Choose files"));
}

export async function openSession(name, isNew = false) {
  stop();
  current = name;
  const known = isNew ? { turns: [], waiting: null } : await call("GET", session(name));
  ({ turns, waiting } = known);
  show();
}

export function stop() {
  running?.abort();
}

async function again(text) {
  if (running) return;
  try {
    await call("DELETE", `${session(current)}/turns/last`);
    turns = turns.slice(0, -1);
    show();
    await askNow(text);
  } catch (error) {
    say(error.message);
  }
}

export async function askNow(text) {
  if (waiting) { // a new question gives up the waiting calls
    waiting = null;
    show();
  }
  document.querySelector(".welcome")?.remove();
  const box = el("div", { class: "answer" });
  byId("talk").append(el("article", { "aria-label": `Turn ${turns.length + 1}` }, question(text), box));
  say("Question sent");
  const name = current;
  const pipeline = byId("pipeline").value;
  await follow(text, box, (signal) => ask(name, text, pipeline, signal));
}

// Shows an answer while it is written.
async function follow(text, box, start) {
  const mine = running = new AbortController();
  const name = current;
  busy(true);
  const draft = el("div", { class: "text draft" });
  const doing = el("p", { class: "doing" }, "…");
  box.append(draft, doing);
  toEnd();
  let streamed = "";
  let done = null;
  let pending = null;
  let problem = null;
  let painting = false;
  const paint = () => { // at most once per frame
    painting = false;
    const stay = atEnd();
    draft.replaceChildren(...prose(streamed));
    if (stay) toEnd();
  };
  try {
    for await (const { event, data } of start(mine.signal)) {
      if (event === "token") {
        streamed += data.text;
        doing.hidden = true;
        if (!painting) { painting = true; requestAnimationFrame(paint); }
      } else if (event === "step") {
        const step = data.text.split("] ").pop();
        doing.textContent = `${STEP_TEXTS[step] ?? step}…`;
        doing.hidden = false;
      } else if (event === "note" && data.wait !== undefined) { // a call of the model is tried again
        doing.textContent = data.text;
        doing.hidden = false;
        say(data.text);
      } else if (event === "done") done = data;
      else if (event === "waiting") pending = data;
      else if (event === "error") problem = data.message;
    }
    if (!done && !pending && !problem) problem = "the connection was lost";
  } catch (error) {
    problem = error.name === "AbortError" ? null : error.message;
  }
  if (running === mine) running = null;
  busy(running !== null);
  if (name !== current) return; // another conversation was opened in the meantime
  if (done) {
    turns.push({ question: text, rating: null, ...done });
    show();
    const cited = done.citations.length ? `, sources: ${[...new Set(done.citations.map((one) => shortName(one.document)))].join(", ")}` : "";
    say(`Answer: ${done.text}${cited}`);
  } else if (pending) {
    draft.replaceChildren(...prose(streamed));
    doing.remove();
    showWaiting(box, pending);
    toEnd();
  } else {
    draft.replaceChildren(...prose(streamed));
    doing.remove();
    const words = problem ? `The question could not be answered: ${problem}` : "Stopped. This turn is not stored.";
    const retry = () => { if (!running) { box.parentNode.remove(); askNow(text); } };
    box.append(el("p", { class: problem ? "wrong" : "hint" }, words), el("div", { class: "actions" }, button("retry", "Ask again", retry)));
    toEnd();
    say(words);
  }
  onTurnEnd(name);
}

export function listenForQuestions(listener) {
  onTurnEnd = listener;
  const field = byId("question");
  const fit = () => { field.style.height = "auto"; field.style.height = `${Math.min(field.scrollHeight, 220)}px`; };
  const go = () => {
    const text = field.value.trim();
    if (!text || running) return;
    field.value = "";
    fit();
    askNow(text);
  };
  field.addEventListener("input", fit);
  field.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) { event.preventDefault(); go(); }
  });
  byId("composer").addEventListener("submit", (event) => { event.preventDefault(); go(); });
  byId("stop").addEventListener("click", () => { stop(); field.focus(); });
}
