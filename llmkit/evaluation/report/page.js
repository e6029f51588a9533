"use strict";
// Everything from the data goes through textContent: it is text and nothing else.
const data = JSON.parse(document.getElementById("data").textContent);
const PAGE = 25;
const state = { page: 0, chosen: null };
const find = (id) => document.getElementById(id);

function element(tag, text, parent, name) {
  const made = document.createElement(tag);
  if (text !== undefined && text !== null) made.textContent = String(text);
  if (name) made.className = name;
  if (parent) parent.append(made);
  return made;
}

function matching() {
  const words = find("search").value.toLowerCase();
  const run = find("run").value, kind = find("kind").value, stage = find("stage").value;
  return data.samples.filter((sample) =>
    (run === "" || String(sample.run) === run) &&
    (kind === "" || sample.kind === kind) &&
    (stage === "" || sample.stage === stage) &&
    (words === "" || (sample.id + " " + sample.question + " " + sample.said).toLowerCase().includes(words)));
}

function show() {
  const found = matching();
  const pages = Math.max(1, Math.ceil(found.length / PAGE));
  state.page = Math.min(state.page, pages - 1);
  const list = find("list");
  list.replaceChildren();
  for (const sample of found.slice(state.page * PAGE, (state.page + 1) * PAGE)) {
    const button = element("button", sample.kind + " · " + sample.id + " · " + sample.question.slice(0, 160), element("li", null, list));
    button.type = "button";
    button.setAttribute("aria-current", String(sample === state.chosen));
    button.addEventListener("click", () => { state.chosen = sample; show(); detail(sample); });
  }
  find("count").textContent = found.length + " samples, page " + (state.page + 1) + " of " + pages;
  find("before").disabled = state.page === 0;
  find("after").disabled = state.page >= pages - 1;
}

function marked(parent, text, spans) {
  let at = 0;
  for (const [start, end] of spans.sort((a, b) => a[0] - b[0])) {
    if (start < at || end > text.length || end <= start) continue;
    parent.append(text.slice(at, start));
    element("mark", text.slice(start, end), parent);
    at = end;
  }
  parent.append(text.slice(at));
}

function detail(sample) {
  const box = find("detail");
  box.replaceChildren();
  box.hidden = false;
  element("h3", sample.id, box);
  element("p", sample.question, box);
  for (const [role, text] of sample.history) element("p", role + ": " + text, box, "soft");
  element("h3", "Right answers", box);
  element("p", sample.answers.length ? sample.answers.join(" · ") : "none given: the documents hold no answer, or there is none to hold", box);
  if (sample.error) { element("h3", "What went wrong", box); element("pre", sample.error, box, "bad"); }
  if (sample.said) { element("h3", sample.abstained ? "Refused" : "Answer", box); element("blockquote", sample.said, box); }
  if (sample.why) element("p", "Stage: " + sample.stage + ". " + sample.why, box);
  for (const citation of sample.citations)
    element("p", "[" + citation.n + "] " + citation.document + (citation.supported ? "" : "  NOT SUPPORTED: " + citation.reason), box, citation.supported ? "soft" : "bad");
  const scores = Object.entries(sample.scores).map(([name, value]) => name + " " + value.toFixed(3));
  const missing = Object.entries(sample.unscored).map(([name, why]) => name + " unscored (" + why + ")");
  element("h3", "Scores", box);
  element("p", [...scores, ...missing].join(" · ") || "none", box);
  if (sample.hits.length) element("h3", "Passages", box);
  for (const hit of sample.hits) {
    element("p", "(" + hit.n + ") " + hit.document + (hit.right ? ", holds the answer" : "") + ", score " + hit.score.toFixed(3), box, "soft");
    marked(element("blockquote", null, box), hit.text, hit.marks);
  }
  if (sample.prompt.length) element("h3", "Prompt", box);
  for (const [role, text] of sample.prompt) { element("p", role, box, "soft"); element("pre", text, box); }
  element("h3", "Steps", box);
  for (const line of sample.steps) element("p", line, box, "soft");
}

for (const id of ["search", "run", "kind", "stage"])
  find(id).addEventListener("input", () => { state.page = 0; show(); });
find("before").addEventListener("click", () => { state.page -= 1; show(); });
find("after").addEventListener("click", () => { state.page += 1; show(); });
show();
