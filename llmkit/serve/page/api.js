// The server, as functions.

let key = null;
try { key = sessionStorage.getItem("key"); } catch { /* kept in memory only */ }

export function useKey(text) {
  key = text;
  try { sessionStorage.setItem("key", text); } catch { /* kept in memory only */ }
}

export class Problem extends Error {
  constructor(status, told) {
    super(told?.message ?? `the server answered ${status}`);
    this.status = status;
    this.request = told?.request_id ?? null;
  }
}

const head = () => (key ? { Authorization: `Bearer ${key}` } : {});

async function failed(reply) {
  let told = null;
  try { told = (await reply.json()).error; } catch { /* not JSON: the status has to do */ }
  return new Problem(reply.status, told);
}

export async function call(method, path, body) {
  const json = body === undefined ? {} : { "Content-Type": "application/json" };
  const reply = await fetch(path, {
    method, headers: { ...head(), ...json }, body: body === undefined ? undefined : JSON.stringify(body),
  });
  if (!reply.ok) throw await failed(reply);
  return reply.json();
}

export const session = (name) => `/api/sessions/${encodeURIComponent(name)}`;

// Somebody sits here: an agent may ask before it does something.
export const ask = (name, question, pipeline, signal) =>
  events(`${session(name)}/turns`, { question, pipeline, attended: true }, signal);

export const decide = (name, wait, decisions, signal) => events(`${session(name)}/decisions`, { wait, decisions }, signal);

// Events of an answer as they come. Leaving the loop, or the signal, closes the connection, which stops the model.
async function* events(path, body, signal) {
  const reply = await fetch(path, {
    method: "POST", signal, headers: { ...head(), "Content-Type": "application/json" }, body: JSON.stringify(body),
  });
  if (!reply.ok) throw await failed(reply);
  const reader = reply.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const parts = (rest + value).split("\n\n");
      rest = parts.pop();
      for (const part of parts) {
        const lines = part.split("\n");
        const data = lines.find((line) => line.startsWith("data: "));
        if (data) yield { event: lines[0].slice("event: ".length), data: JSON.parse(data.slice("data: ".length)) };
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

export function upload(files, progress) {
  return new Promise((resolve, reject) => {
    const form = new FormData();
    for (const file of files) form.append("files", file, file.name);
    const request = new XMLHttpRequest(); // fetch tells nothing of how much was sent
    request.open("POST", "/api/knowledge/files");
    for (const [name, value] of Object.entries(head())) request.setRequestHeader(name, value);
    request.responseType = "json";
    request.upload.addEventListener("progress", (event) => event.lengthComputable && progress(event.loaded / event.total));
    request.addEventListener("load", () => {
      if (request.status < 300) resolve(request.response.files);
      else reject(new Problem(request.status, request.response?.error));
    });
    request.addEventListener("error", () => reject(new Problem(0, { message: "the server does not answer" })));
    request.send(form);
  });
}
