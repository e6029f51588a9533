// The side panel. It shows one thing at a time; when it closes, the focus returns to where it was opened from.

import { byId, el } from "./dom.js";

let opener = null;

export function openPanel(title, from) {
  opener = from ?? opener;
  const body = byId("panel-body");
  byId("panel").hidden = false;
  document.body.classList.add("with-panel");
  byId("panel-title").textContent = title;
  body.replaceChildren(el("p", { class: "hint" }, "…"));
  body.scrollTop = 0;
  byId("panel-title").focus({ preventScroll: true });
  return body;
}

export function closePanel() {
  if (byId("panel").hidden) return false;
  byId("panel").hidden = true;
  document.body.classList.remove("with-panel");
  if (opener?.isConnected) opener.focus();
  opener = null;
  return true;
}
