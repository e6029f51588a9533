// Shows the trace of an answer in the side panel: passages retrieved, kept and cited, prompts, tokens and times.

import { call } from "./api.js";
import { el, milliseconds, shortName } from "./dom.js";
import { openPanel } from "./panel.js";
import { openPassage } from "./reader.js";

const stepName = (record) => record.step.split("] ").pop();

function stepTable(records) {
  const longest = Math.max(...records.map((one) => one.seconds), 0.001);
  return el("table", { class: "steps" }, el("caption", { class: "hidden" }, "Steps and their times"),
    el("tbody", {}, records.map((one) => el("tr", {},
      el("th", { scope: "row" }, stepName(one)),
      el("td", {}, el("meter", { min: 0, max: longest, value: one.seconds, "aria-hidden": "true" })),
      el("td", { class: "number" }, milliseconds(one.seconds)),
      el("td", { class: "number" }, one.usage.calls ? `${one.usage.input_tokens} → ${one.usage.output_tokens} tokens` : "")))));
}

function passages(trace) {
  const kept = new Map(trace.hits.map((hit, n) => [hit.passage, n + 1]));
  const cited = new Set((trace.answer?.citations ?? []).map((one) => one.chunk));
  const found = [...trace.retrieved, ...trace.hits.filter((hit) => !trace.retrieved.some((one) => one.passage === hit.passage))];
  if (!found.length) return el("p", { class: "hint" }, "The pipeline retrieved no passages.");
  return el("ol", { class: "passages" }, found.map((hit) => {
    const passage = trace.passages[hit.passage];
    const chunk = `${passage.document}#${passage.ordinal}`;
    const fate = cited.has(chunk) ? "cited" : kept.has(hit.passage) ? "kept" : "dropped";
    const number = kept.has(hit.passage) ? `[${kept.get(hit.passage)}] ` : "";
    const scores = Object.entries(hit.scores).map(([name, value]) => `${name} ${value.toFixed(3)}`).join(", ");
    return el("li", { class: fate }, el("button", {
      type: "button", class: "source", title: scores, on: { click: (event) => openPassage(passage, event.currentTarget) },
    }, el("span", { class: `fate ${fate}` }, fate), el("span", { class: "from" }, `${number}${shortName(passage.document)}`),
    el("span", { class: "score" }, hit.score.toFixed(3)),
    el("span", { class: "quote" }, passage.text.replace(/\s+/g, " ").slice(0, 160))));
  }));
}

function prompts(records) {
  return records.filter((one) => one.detail.messages).map((one) => el("details", {}, el("summary", {}, `Prompt of ${stepName(one)}${one.detail.prompt ? ` (${one.detail.prompt})` : ""}`),
    one.detail.messages.map(([role, text]) => el("div", { class: "message" }, el("span", { class: "role" }, role), el("pre", { tabindex: 0 }, text))),
    one.detail.raw ? el("div", { class: "message" }, el("span", { class: "role" }, "reply"), el("pre", { tabindex: 0 }, one.detail.raw)) : null));
}

export async function openWhy(id, from) {
  const body = openPanel("Why this answer?", from);
  try {
    const trace = await call("GET", `/api/traces/${encodeURIComponent(id)}`);
    const total = trace.records.reduce((sum, one) => sum + one.seconds, 0);
    const notes = trace.records.flatMap((one) => one.detail.notes ?? []);
    body.replaceChildren(...[
      el("p", { class: "facts" }, `${trace.pipeline} · ${milliseconds(total)} · ${new Date(trace.at).toLocaleString()}`),
      trace.asked !== trace.question ? el("p", {}, el("span", { class: "role" }, "searched for"), " ", trace.question) : null,
      ...notes.map((note) => el("p", { class: "hint" }, note)),
      el("h3", {}, "Steps"), stepTable(trace.records),
      el("h3", {}, "Passages"), passages(trace),
      ...prompts(trace.records),
      el("details", {}, el("summary", {}, "All records as JSON"),
        el("pre", { tabindex: 0 }, JSON.stringify(trace.records, null, 2))),
      el("p", { class: "hint" }, trace.id),
    ].filter(Boolean));
  } catch (error) {
    body.replaceChildren(el("p", { class: "wrong" }, error.message));
  }
}
