// The conversation in the middle.

import { ask, call, decide, session } from "./api.js";
import { answer, prose } from "./answer.js";
import { decisions } from "./decide.js";
import { button, byId, el, icon, say, shortName } from "./dom.js";

const DOING = {
  condense: "Reading the question", retrieve: "Searching", rerank: "Choosing passages", expand: "Choosing passages",
  extract: "Looking for the sentence", answer: "Writing", generate: "Writing", ground: "Checking", refine: "Refining", agent: "Working",
};
let current = null;
let running = null;
let turns = [];
let waiting = null;
let told = () => {};

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

// What waits for a decision, in the box where its answer will be.
function showWaiting(box, told) {
  waiting = told;
  box.append(decisions(told, (made) => {
    if (running) return;
    waiting = null;
    box.replaceChildren();
    follow(told.question, box, (signal) => decide(current, told.wait, made, signal));
  }));
  say("The agent wants to do something and needs your decision");
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
        el("p", {}, "Every answer shows the passages it rests on. Where the documents do not say, it says so."))
    : el("div", { class: "welcome" }, el("h1", {}, "Bring your documents"),
        el("p", {}, "Drop files here: PDF, Word, slides, tables, e-mail, Markdown, HTML and more. They stay on this machine."),
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
  if (waiting) { // a new question gives it up
    waiting = null;
    show();
  }
  document.querySelector(".welcome")?.remove();
  const box = el("div", { class: "answer" });
  byId("talk").append(el("article", { "aria-label": `Turn ${turns.length + 1}` }, question(text), box));
  say("Asked");
  const name = current;
  const pipeline = byId("pipeline").value;
  await follow(text, box, (signal) => ask(name, text, pipeline, signal));
}

// Shows an answer while it is made.
async function follow(text, box, begin) {
  const mine = running = new AbortController();
  const name = current;
  busy(true);
  const draft = el("div", { class: "text draft" });
  const doing = el("p", { class: "doing" }, "…");
  box.append(draft, doing);
  toEnd();
  let said = "";
  let done = null;
  let waits = null;
  let problem = null;
  let painting = false;
  const paint = () => { // once a frame, however fast the tokens come
    painting = false;
    const stay = atEnd();
    draft.replaceChildren(...prose(said));
    if (stay) toEnd();
  };
  try {
    for await (const { event, data } of begin(mine.signal)) {
      if (event === "token") {
        said += data.text;
        doing.hidden = true;
        if (!painting) { painting = true; requestAnimationFrame(paint); }
      } else if (event === "step") {
        const step = data.text.split("] ").pop();
        doing.textContent = `${DOING[step] ?? step}…`;
        doing.hidden = false;
      } else if (event === "done") done = data;
      else if (event === "waiting") waits = data;
      else if (event === "error") problem = data.message;
    }
    if (!done && !waits && !problem) problem = "the connection broke off";
  } catch (error) {
    problem = error.name === "AbortError" ? null : error.message;
  }
  if (running === mine) running = null;
  busy(running !== null);
  if (name !== current) return; // another conversation was opened meanwhile
  if (done) {
    turns.push({ question: text, rating: null, ...done });
    show();
    const cited = done.citations.length ? `, sources: ${[...new Set(done.citations.map((one) => shortName(one.document)))].join(", ")}` : "";
    say(`Answer: ${done.text}${cited}`);
  } else if (waits) {
    draft.replaceChildren(...prose(said));
    doing.remove();
    showWaiting(box, waits);
    toEnd();
  } else {
    draft.replaceChildren(...prose(said));
    doing.remove();
    const words = problem ? `It did not work: ${problem}` : "Stopped. This turn is not kept.";
    const retry = () => { if (!running) { box.parentNode.remove(); askNow(text); } };
    box.append(el("p", { class: problem ? "wrong" : "hint" }, words), el("div", { class: "actions" }, button("retry", "Ask again", retry)));
    toEnd();
    say(words);
  }
  told(name);
}

export function listenForQuestions(onTurn) {
  told = onTurn;
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
