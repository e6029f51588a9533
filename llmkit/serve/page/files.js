// Files in: dropped or picked, sent with progress, then watched until each is read.

import { call, upload } from "./api.js";
import { byId, el, icon, say, sureButton } from "./dom.js";
import { openPassage } from "./reader.js";

const WORDS = {
  waiting: "waits", reading: "being read", parsed: "ready", empty: "no text in it", encrypted: "encrypted",
  unsupported: "not a kind that is read", too_large: "too large", timeout: "took too long", failed: "failed",
  skipped: "passed over", partial: "interrupted",
};
const BUSY = ["waiting", "reading"];
let sending = [];
let rows = [];
let timer = null;
let changed = () => {};

function entry(row) {
  const state = row.status === "parsed" ? "ready" : BUSY.includes(row.status) || row.sent !== undefined ? "busy" : "bad";
  const words = row.sent !== undefined ? `sending, ${Math.round(row.sent * 100)} %` : WORDS[row.status] ?? row.status;
  const open = row.documents?.length
    ? el("button", { type: "button", class: "entry", title: row.file,
        on: { click: (event) => openPassage({ document: row.documents[0] }, event.currentTarget) } }, row.file)
    : el("span", { class: "entry", title: row.file }, row.file);
  return el("li", { class: `file ${state}`, "data-file": row.file }, icon("file"),
    el("div", {}, open, el("span", { class: "state", title: row.reason || words },
      row.reason && state === "bad" ? `${words}: ${row.reason}` : words),
    row.sent !== undefined ? el("progress", { max: 1, value: row.sent, "aria-label": `Sending ${row.file}` }) : null),
    row.mine && state !== "busy" ? sureButton("bin", `Take out ${row.file}`, () => remove(row)) : null);
}

function show() {
  const all = [...sending, ...rows];
  byId("file-list").replaceChildren(...all.slice(0, 200).map(entry),
    ...(all.length > 200 ? [el("li", { class: "hint" }, `and ${all.length - 200} more`)] : []));
  changed(all.length);
}

async function remove(row) {
  try {
    await call("DELETE", `/api/knowledge/files?${new URLSearchParams({ name: row.name })}`);
    say(`${row.file} is taken out`);
  } catch (error) {
    say(error.message);
  }
  await showFiles();
}

export async function showFiles() {
  clearTimeout(timer);
  const before = new Map(rows.map((row) => [row.name, row.status]));
  ({ files: rows } = await call("GET", "/api/knowledge/files"));
  show();
  for (const row of rows) {
    if (BUSY.includes(before.get(row.name)) && !BUSY.includes(row.status)) say(`${row.file}: ${WORDS[row.status] ?? row.status}`);
  }
  if (rows.some((row) => BUSY.includes(row.status))) timer = setTimeout(() => showFiles().catch(() => {}), 700);
}

export async function send(files) {
  if (!files.length) return;
  const mine = [...files].map((file) => ({ file: file.name, status: "sending", reason: "", sent: 0 }));
  sending.push(...mine);
  show();
  let problem = null;
  try {
    await upload(files, (share) => { for (const row of mine) row.sent = share; show(); });
  } catch (error) {
    problem = error.message;
  }
  sending = sending.filter((row) => !mine.includes(row));
  if (problem) {
    for (const row of mine) { delete row.sent; row.status = "failed"; row.reason = problem; }
    say(problem);
    sending.push(...mine);
    setTimeout(() => { sending = sending.filter((row) => !mine.includes(row)); show(); }, 15000);
    show();
    return;
  }
  await showFiles();
}

export function listenForFiles(onChange) {
  changed = onChange;
  const picker = byId("picker");
  byId("add").addEventListener("click", () => picker.click());
  picker.addEventListener("change", () => { send([...picker.files]); picker.value = ""; });
  let depth = 0;
  const isFiles = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
  document.addEventListener("dragenter", (event) => { if (isFiles(event)) { depth += 1; byId("drop").hidden = false; } });
  document.addEventListener("dragleave", (event) => {
    if (isFiles(event)) { depth -= 1; if (depth <= 0) byId("drop").hidden = true; }
  });
  document.addEventListener("dragover", (event) => { if (isFiles(event)) event.preventDefault(); });
  document.addEventListener("drop", (event) => {
    if (!isFiles(event)) return;
    event.preventDefault();
    depth = 0;
    byId("drop").hidden = true;
    send([...event.dataTransfer.files]);
  });
}
