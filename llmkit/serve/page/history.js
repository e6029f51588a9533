// The list of conversations.

import { call, session } from "./api.js";
import { byId, el, say, confirmButton } from "./dom.js";

export function freshName() {
  const at = new Date().toISOString().slice(0, 19).replace("T", " ").replaceAll(":", ".");
  return `${at} ${crypto.getRandomValues(new Uint32Array(1))[0].toString(36)}`;
}

export async function showHistory(current, open, onDeleted) {
  const list = byId("history");
  const { sessions } = await call("GET", "/api/sessions");
  const kept = sessions.filter((one) => one.turns > 0 || one.waiting || one.name === current);
  list.replaceChildren(...kept.map((one) => {
    const title = one.title || one.name;
    const bin = confirmButton("bin", `Delete ${title}`, async () => {
      try {
        await call("DELETE", session(one.name));
      } catch (error) {
        say(error.message);
      }
      onDeleted(one.name);
    });
    return el("li", { class: one.name === current ? "current" : "" },
      el("button", { type: "button", class: "entry", "aria-current": one.name === current ? "true" : null, title,
        on: { click: () => open(one.name) } }, title), bin);
  }));
  if (!kept.length) list.append(el("li", { class: "hint" }, "None yet"));
}
