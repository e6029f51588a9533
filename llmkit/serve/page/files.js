// Uploads files that were dropped or chosen, shows the progress, and polls the server until each file is read.

import { call, upload } from "./api.js";
import { byId, el, icon, say, confirmButton } from "./dom.js";
import { openPassage } from "./reader.js";

const STATUS_TEXTS = {
  waiting: "waiting", reading: "being read", parsed: "ready", empty: "contains no text", encrypted: "encrypted",
  unsupported: "unsupported file type", too_large: "too large", timeout: "took too long", failed: "failed",
  skipped: "skipped", partial: "interrupted",
};
const BUSY = ["waiting", "reading"];
let sending = [];
let rows = [];
let timer = null;
let onChange = () => {};

function entry(row) {
  const state = row.status === "parsed" ? "ready" : BUSY.includes(row.status) || row.sent !== undefined ? "busy" : "bad";
  const words = row.sent !== undefined ? `uploading, ${Math.round(row.sent * 100)} %` : STATUS_TEXTS[row.status] ?? row.status;
  const open = row.documents?.length
    ? el("button", { type: "button", class: "entry", title: row.file,
        on: { click: (event) => openPassage({ document: row.documents[0] }, event.currentTarget) } }, row.file)
    : el("span", { class: "entry", title: row.file }, row.file);
  return el("li", { class: `file ${state}`, "data-file": row.file }, icon("file"),
    el("div", {}, open, el("span", { class: "state", title: row.reason || words },
      row.reason && state === "bad" ? `${words}: ${row.reason}` : words),
    row.sent !== undefined ? el("progress", { max: 1, value: row.sent, "aria-label": `Uploading ${row.file}` }) : null),
    row.mine && state !== "busy" ? confirmButton("bin", `Delete ${row.file}`, () => remove(row)) : null);
}

function show() {
  const all = [...sending, ...rows];
  byId("file-list").replaceChildren(...all.slice(0, 200).map(entry),
    ...(all.length > 200 ? [el("li", { class: "hint" }, `and ${all.length - 200} more`)] : []));
  onChange(all.length);
}

async function remove(row) {
  try {
    await call("DELETE", `/api/knowledge/files?${new URLSearchParams({ name: row.name })}`);
    say(`${row.file} was deleted`);
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
    if (BUSY.includes(before.get(row.name)) && !BUSY.includes(row.status)) say(`${row.file}: ${STATUS_TEXTS[row.status] ?? row.status}`);
  }
  if (rows.some((row) => BUSY.includes(row.status))) timer = setTimeout(() => showFiles().catch(() => {}), 700);
}

// Returns the files of a drop, with the files in dropped folders; each such file has its path within the drop.
async function droppedFiles(transfer) {
  const plain = [...transfer.files];
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.some((entry) => entry.isDirectory)) return plain;
  return (await Promise.all(entries.map(filesOf))).flat();
}

async function filesOf(entry) {
  if (entry.isFile) {
    const file = await new Promise((resolve, reject) => entry.file(resolve, reject));
    file.path = entry.fullPath.replace(/^\//, "");
    return [file];
  }
  const reader = entry.createReader();
  const found = [];
  for (;;) { // a reader returns a folder in portions
    const portion = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!portion.length) break;
    found.push(...portion);
  }
  return (await Promise.all(found.map(filesOf))).flat();
}

export async function send(files) {
  if (!files.length) return;
  const mine = [...files].map((file) => ({ file: file.path ?? file.name, status: "sending", reason: "", sent: 0 }));
  sending.push(...mine);
  show();
  let problem = null;
  try {
    const accepted = await upload(files, (share) => { for (const row of mine) row.sent = share; show(); });
    const replaced = accepted.filter((row) => row.replaced).map((row) => row.file);
    if (replaced.length) say(`Replaced: ${replaced.join(", ")}`);
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

export function listenForFiles(listener) {
  onChange = listener;
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
    droppedFiles(event.dataTransfer).then(send).catch((error) => say(error.message));
  });
}
