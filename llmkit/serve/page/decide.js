// Calls that wait for the user's approval. The page shows everything in them as plain text.

import { el, say } from "./dom.js";

// Returns a form for waiting calls. `onDecided` is called once, with the decisions in the order of the calls.
export function approvalForm(waiting, onDecided) {
  const decisions = waiting.calls.map(() => null);
  const boxes = waiting.calls.map((call, n) => {
    const given = JSON.stringify(call.arguments, null, 2);
    const shown = el("pre", { tabindex: 0, "aria-label": "Arguments" }, el("code", {}, given));
    const text = el("textarea", { rows: Math.min(12, given.split("\n").length), "aria-label": "Arguments as JSON", hidden: true });
    text.value = given;
    const reason = el("input", { type: "text", maxlength: 2000, "aria-label": "Reason to reject", placeholder: "reason to reject (the model is told)" });
    const wrong = el("p", { class: "wrong", role: "alert" });
    const state = el("p", { class: "hint" }, call.why);

    function decide(decision, words) {
      decisions[n] = decision;
      for (const control of box.querySelectorAll("button, input, textarea")) control.disabled = true;
      state.textContent = words;
      say(`${call.tool}: ${words}`);
      if (decisions.every((each) => each !== null)) onDecided(decisions);
    }
    function approve() {
      if (text.hidden || text.value === given) return decide({ kind: "approve" }, "approved");
      let changed = null;
      try { changed = JSON.parse(text.value); } catch (error) { wrong.textContent = `Not JSON: ${error.message}`; return undefined; }
      if (changed === null || typeof changed !== "object" || Array.isArray(changed)) {
        wrong.textContent = "The arguments must be a JSON object";
        return undefined;
      }
      return decide({ kind: "edit", arguments: changed }, "approved with other arguments");
    }
    const change = () => { text.hidden = false; shown.hidden = true; text.focus(); };
    const act = (label, kind, does) => el("button", { type: "button", class: kind, on: { click: does } }, label);
    const box = el("fieldset", { class: "call" }, el("legend", {}, `${call.tool} wants to be called`), shown, text, state, wrong,
      el("div", { class: "row" }, act("Approve", "big approve", approve), act("Change", "small change", change),
        act("Reject", "small reject", () => decide({ kind: "reject", reason: reason.value.trim() }, "rejected")), reason));
    return box;
  });
  return el("div", { class: "waiting", role: "group", "aria-label": "Calls that need your decision" }, boxes);
}
