/* What the page asks of the server. */

const BUSY = [429, 503];
const RETRIES = 20;

let token = null;

/** A problem document, as an error: `status` is 0 where the server was not reached. */
export class Problem extends Error {
  constructor({ title, detail = "", status = 0 }) {
    super(detail);
    Object.assign(this, { title, detail, status });
  }
}

export function setToken(value) {
  token = value;
}

export function hasToken() {
  return token !== null;
}

function headers() {
  return token === null ? {} : { Authorization: `Bearer ${token}` };
}

/** The JSON answer of a path, or a Problem. */
export async function ask(path, method = "GET", signal = undefined) {
  const answer = await reach(path, { method, signal });
  return answer.status === 204 ? null : answer.json();
}

/** Puts bytes under a path and gives the JSON answer. */
export async function put(path, body) {
  return (await reach(path, { method: "PUT", body, type: "image/png" })).json();
}

/** The bytes of a path; used where a token must travel, which a `src` cannot carry. */
export async function fetchBlob(path) {
  return (await reach(path, {})).blob();
}

async function reach(path, { type, ...options }) {
  let answer;
  try {
    const sent = type && options.body ? { "Content-Type": type } : {};
    answer = await fetch(path, { ...options, headers: { ...headers(), ...sent }, cache: "no-store" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem({ title: "The server cannot be reached" });
  }
  if (!answer.ok) throw problemOf(answer.status, await answer.text());
  return answer;
}

/** Sends a file in a form and gives the bytes of the answer. */
export async function sendForBlob(path, field, file) {
  const form = new FormData();
  form.append(field, file, "upload"); // the file's own name stays here
  return (await reach(path, { method: "POST", body: form })).blob();
}

/** Deletes a job, even while the page is being left. */
export function forget(path) {
  fetch(path, { method: "DELETE", headers: headers(), keepalive: true }).catch(() => {});
}

/**
 * Sends a file in a form and gives the JSON answer; asks again while the server is busy.
 * @param {{onUpload: (share: number) => void, onBusy: (seconds: number) => void, signal: AbortSignal}} follow
 */
export async function send(path, field, file, follow) {
  for (let attempt = 1; ; attempt++) {
    const answer = await post(path, field, file, follow);
    if (answer.status < 300) return JSON.parse(answer.text);
    const problem = problemOf(answer.status, answer.text);
    if (!BUSY.includes(answer.status) || attempt > RETRIES) throw problem;
    await busyPause(Math.max(1, Number(answer.retryAfter) || 1), follow);
  }
}

async function busyPause(seconds, { onBusy, signal }) {
  for (let left = Math.ceil(seconds); left > 0; left--) {
    onBusy(left);
    await pause(1000, signal);
  }
}

/** Waits; ends at once, with an AbortError, when the signal says so. */
export function pause(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    const stop = () => { clearTimeout(timer); reject(new DOMException("cancelled", "AbortError")); };
    const timer = setTimeout(() => { signal.removeEventListener("abort", stop); resolve(); }, milliseconds);
    if (signal.aborted) stop();
    else signal.addEventListener("abort", stop, { once: true });
  });
}

/* XMLHttpRequest, since fetch does not tell how much of a body has been sent. */
function post(path, field, file, { onUpload, signal }) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    const form = new FormData();
    form.append(field, file, "upload"); // the file's own name stays here
    request.open("POST", path);
    for (const [name, value] of Object.entries(headers())) request.setRequestHeader(name, value);
    request.upload.onprogress = (event) => onUpload(event.lengthComputable ? event.loaded / event.total : 0);
    request.upload.onload = () => onUpload(1);
    request.onload = () =>
      resolve({ status: request.status, text: request.responseText, retryAfter: request.getResponseHeader("Retry-After") });
    request.onerror = () => reject(new Problem({ title: "The server cannot be reached" }));
    request.onabort = () => reject(new DOMException("cancelled", "AbortError"));
    signal.addEventListener("abort", () => request.abort(), { once: true });
    if (signal.aborted) reject(new DOMException("cancelled", "AbortError"));
    else request.send(form);
  });
}

function problemOf(status, text) {
  try {
    const { title, detail } = JSON.parse(text);
    return new Problem({ title: String(title), detail: typeof detail === "string" ? detail : "", status });
  } catch {
    return new Problem({ title: `The server answered ${status}`, status });
  }
}
