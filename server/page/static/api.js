// Talking to the server that this page came from, and to no other.
//
// The key stays in this tab: in memory and sessionStorage, never in an address. Without one the browser sends what its
// own dialog was given, if anything; the header x-rtriton-page tells such requests from those of other sites' pages.

const KEPT = "rtriton-key";
let key = "";
try {
  key = sessionStorage.getItem(KEPT) ?? "";
} catch { /* a browser that keeps nothing for pages: the key is in memory alone */ }

export const getKey = () => key;

export function setKey(value) {
  key = value.trim();
  try {
    if (key) sessionStorage.setItem(KEPT, key);
    else sessionStorage.removeItem(KEPT);
  } catch { /* as above */ }
}

/** What the server said instead of an answer. */
export class Refusal extends Error {
  constructor(status, error = {}) {
    super(error.message ?? `The server answered with status ${status}.`);
    Object.assign(this, { status, param: error.param ?? null, code: error.code ?? null });
  }
}

async function ask(path, options = {}) {
  const headers = { "x-rtriton-page": "1", ...options.headers };
  if (key) {
    if (!/^[!-~]+$/.test(key)) throw new Refusal(401, { message: "The API key has characters that no key has." });
    headers.authorization = `Bearer ${key}`;
  }
  const answer = await fetch(path, { ...options, headers, cache: "no-store", credentials: "same-origin" });
  if (!answer.ok) {
    const body = await answer.json().catch(() => ({}));
    throw new Refusal(answer.status, body.error ?? { message: body.reason });
  }
  return answer;
}

export const getJson = async (path) => (await ask(path)).json();
export const getText = async (path) => (await ask(path)).text();

/** The events of a streamed answer, as objects, up to its end. An error in the middle is thrown. */
export async function* stream(path, body, signal) {
  const headers = { "content-type": "application/json" };
  const answer = await ask(path, { method: "POST", headers, body: JSON.stringify(body), signal });
  for await (const data of events(answer.body)) {
    if (data === "[DONE]") return;
    const event = JSON.parse(data);
    if (event.error) throw new Refusal(200, event.error);
    yield event;
  }
  throw new Error("The answer broke off: the connection ended before it did.");
}

async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const parts = (rest + value).split("\n\n");
    rest = parts.pop();
    for (const part of parts) {
      const lines = part.split("\n").filter((line) => line.startsWith("data:"));
      if (lines.length) yield lines.map((line) => line.slice(5).trimStart()).join("\n");
    }
  }
}
