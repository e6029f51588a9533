// Shows a document in the side panel, with a passage marked.

import { call } from "./api.js";
import { el, shortName } from "./dom.js";
import { openPanel } from "./panel.js";

export async function openPassage(place, from) {
  const body = openPanel(shortName(place.document), from);
  const query = new URLSearchParams({ id: place.document, start: place.start ?? 0, end: place.end ?? 0 });
  if (place.version) query.set("version", place.version);
  try {
    const found = await call("GET", `/api/knowledge/document?${query}`);
    const mark = found.passage ? el("mark", { id: "passage", tabindex: -1 }, found.passage) : null;
    const left = (count) => (count ? el("p", { class: "hint" }, `… ${count.toLocaleString()} more characters …`) : null);
    body.replaceChildren(...[
      found.title && found.title !== shortName(found.id) ? el("h3", {}, found.title) : null,
      ...found.notes.map((note) => el("p", { class: "hint" }, note)),
      left(found.left_before),
      el("div", { class: "document" }, found.before, mark, found.after),
      left(found.left_after),
    ].filter(Boolean));
    if (mark) {
      mark.scrollIntoView({ block: "center" });
      mark.focus({ preventScroll: true });
    }
  } catch (error) {
    const gone = error.status === 404 ? "This passage is no longer in the knowledge base." : error.message;
    body.replaceChildren(el("p", { class: "wrong" }, gone));
  }
}
