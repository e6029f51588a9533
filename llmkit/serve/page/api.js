// Requests to the server.

let key = null;
try { key = sessionStorage.getItem("key"); } catch { /* stored in memory only */ }

export function useKey(text) {
  key = text;
  try { sessionStorage.setItem("key", text); } catch { /* stored in memory only */ }
}

export class RequestError extends Error {
  constructor(status, body) {
    super(body?.message ?? `the server answered with status ${status}`);
    this.status = status;
    this.requestId = body?.request_id ?? null;
  }
}

const authorization = () => (key ? { Authorization: `Bearer ${key}` } : {});

async function requestError(response) {
  let body = null;
  try { body = (await response.json()).error; } catch { /* not JSON: the message names the status */ }
  return new RequestError(response.status, body);
}

export async function call(method, path, body) {
  const json = body === undefined ? {} : { "Content-Type": "application/json" };
  const response = await fetch(path, {
    method, headers: { ...authorization(), ...json }, body: body === undefined ? undefined : JSON.stringify(body),
  });
  if (!response.ok) throw await requestError(response);
  return response.json();
}

export const session = (name) => `/api/sessions/${encodeURIComponent(name)}`;

// The user of the page can decide on calls, so an agent may propose calls that need approval.
export const ask = (name, question, pipeline, signal) =>
  events(`${session(name)}/turns`, { question, pipeline, attended: true }, signal);

export const decide = (name, wait, decisions, signal) => events(`${session(name)}/decisions`, { wait, decisions }, signal);

// Yields the events of an answer as they come. Leaving the loop or aborting the signal closes the connection, and the
// server then stops the model.
async function* events(path, body, signal) {
  const response = await fetch(path, {
    method: "POST", signal, headers: { ...authorization(), "Content-Type": "application/json" }, body: JSON.stringify(body),
  });
  if (!response.ok) throw await requestError(response);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let buffer = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const parts = (buffer + value).split("\n\n");
      buffer = parts.pop();
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
    for (const file of files) form.append("files", file, file.path ?? file.name);
    const request = new XMLHttpRequest(); // fetch does not report the progress of an upload
    request.open("POST", "/api/knowledge/files");
    for (const [name, value] of Object.entries(authorization())) request.setRequestHeader(name, value);
    request.responseType = "json";
    request.upload.addEventListener("progress", (event) => event.lengthComputable && progress(event.loaded / event.total));
    request.addEventListener("load", () => {
      if (request.status < 300) resolve(request.response.files);
      else reject(new RequestError(request.status, request.response?.error));
    });
    request.addEventListener("error", () => reject(new RequestError(0, { message: "the server cannot be reached" })));
    request.send(form);
  });
}
