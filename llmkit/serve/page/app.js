// Starts the page and connects its parts.

import { call, useKey } from "./api.js";
import { isRunning, listenForQuestions, openSession, setDocuments, stop } from "./chat.js";
import { byId, el, icon, say } from "./dom.js";
import { listenForFiles, showFiles } from "./files.js";
import { freshName, showHistory } from "./history.js";
import { closePanel } from "./panel.js";

const store = {
  get: (name) => { try { return localStorage.getItem(name); } catch { return null; } },
  set: (name, value) => { try { localStorage.setItem(name, value); } catch { /* lasts until the tab is closed */ } },
};
let current = null;

for (const [id, name] of Object.entries({ send: "send", stop: "stop", theme: "theme", "panel-close": "close", "side-open": "menu", "side-close": "close" })) {
  byId(id).append(icon(name));
}
byId("new").prepend(icon("plus"));

async function open(name, isNew = false) {
  current = name;
  document.body.classList.remove("with-side");
  closePanel();
  history.replaceState(null, "", `#${encodeURIComponent(name)}`);
  try {
    await openSession(name, isNew);
  } catch (error) {
    if (error.status !== 404) throw error;
    return open(freshName(), true);
  }
  await list();
  byId("question").focus();
}

const list = () => showHistory(current, (name) => open(name).catch(showError), (name) =>
  (name === current ? open(freshName(), true) : list()).catch(showError));

function showError(error) {
  say(error.message);
  byId("about").textContent = error.message;
}

function fillPipelines(me) {
  const select = byId("pipeline");
  select.replaceChildren(...me.pipelines.map((one) => el("option", { value: one.name }, one.name)));
  const chosen = store.get("pipeline");
  if (me.pipelines.some((one) => one.name === chosen)) select.value = chosen;
  const showDescription = () => { byId("about").textContent = me.pipelines.find((one) => one.name === select.value)?.description ?? ""; };
  select.addEventListener("change", () => { store.set("pipeline", select.value); showDescription(); });
  showDescription();
}

function listenForTheme() {
  const dark = () => (document.documentElement.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  byId("theme").addEventListener("click", () => {
    document.documentElement.dataset.theme = dark() ? "light" : "dark";
    store.set("theme", document.documentElement.dataset.theme);
    say(`${document.documentElement.dataset.theme} theme`);
  });
}

function listenForKeys() {
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || byId("key").open) return;
    if (isRunning()) stop();
    else if (!closePanel()) document.body.classList.remove("with-side");
  });
  byId("panel-close").addEventListener("click", closePanel);
  byId("side-open").addEventListener("click", () => { document.body.classList.add("with-side"); byId("side-close").focus(); });
  byId("side-close").addEventListener("click", () => { document.body.classList.remove("with-side"); byId("side-open").focus(); });
  byId("new").addEventListener("click", () => open(freshName(), true).catch(showError));
}

// Returns who the user is; asks for an API key until the server accepts it.
async function authenticate() {
  for (;;) {
    try {
      const me = await call("GET", "/api/me");
      byId("key").close();
      return me;
    } catch (error) {
      if (error.status !== 401 && error.status !== 429) throw error;
      byId("key-wrong").textContent = byId("key").open ? error.message : "";
      if (!byId("key").open) byId("key").showModal();
      await new Promise((resolve) => byId("key-form").addEventListener("submit", (event) => {
        event.preventDefault();
        useKey(byId("key-text").value.trim());
        resolve();
      }, { once: true }));
    }
  }
}

async function start() {
  listenForTheme();
  listenForKeys();
  const me = await authenticate();
  fillPipelines(me);
  document.body.classList.toggle("reads-only", !me.scopes.includes("ingest") && !me.scopes.includes("admin"));
  setDocuments(me.documents ? 1 : 0);
  listenForFiles((count) => setDocuments(count));
  listenForQuestions(() => list().catch(showError));
  await showFiles();
  const named = decodeURIComponent(location.hash.slice(1));
  await (named ? open(named) : open(freshName(), true));
  document.body.dataset.ready = "yes";
}

start().catch(showError);
