// The server, as the screens see it.

/** A refusal of the API: code, message, hint, field; status 0 if no answer came. */
export class Refusal extends Error {
  constructor(status, error, all) {
    super(error.message);
    Object.assign(this, { status, code: error.code, hint: error.hint, field: error.field, errors: all || [error] });
  }
}

/** The columns of a job's curves as a row for each step; the last has all figures. */
export const rowsOf = (c) => c.step.map((step, i) => (i === c.step.length - 1 && c.last) || {
  step, ce: c.ce[i], val_loss: c.val_loss[i], s_ratio: c.s_ratio[i], s_hat: c.s_hat[i], lambda_value: c.lambda_value[i], lambda_next: c.lambda_next[i], at_bound: c.at_bound[i],
});

let scope = "admin";
/** What the session may do, as GET /session told. */
export const signedInAs = (session) => { scope = session.scope || "admin"; };
/** Whether it may change anything: what it may not, the server refuses, and no button offers. */
export const mayChange = () => scope !== "read";

let onUnauthorized = () => {};
export const whenUnauthorized = (f) => { onUnauthorized = f; };

async function answer(method, path, init, read = (response) => response.json()) {
  let response, body = null;
  try {
    response = await fetch(path, { method, ...init, headers: { "X-Scu-Page": "1", ...(init && init.headers) } });
    body = await (response.ok ? read(response) : response.json());
  } catch (e) {
    if (e.name === "AbortError") throw e;
    if (!(e instanceof SyntaxError)) throw new Refusal(0, { code: "unavailable", message: "The server can't be reached.", hint: "It may be restarting; this page tries again." });
  }
  if (response.ok) return body;
  if (response.status === 401 && path !== "/session") onUnauthorized();
  const error = (body && body.error) || { code: "internal", message: `The server answered ${response.status}.` };
  throw new Refusal(response.status, error, body && body.errors);
}

const early = new Map(); // path -> the answer that is on its way
/** Asks for what a person is about to open: get takes the answer, if it comes for it within a moment. */
export function foresee(...paths) {
  for (const path of paths) {
    if (early.has(path)) continue;
    const asked = answer("GET", path, {});
    asked.catch(() => {}); // whoever takes it is told
    early.set(path, asked);
    setTimeout(() => { if (early.get(path) === asked) early.delete(path); }, 2000);
  }
}

export function get(path, signal) {
  const asked = early.get(path);
  early.delete(path);
  return asked || answer("GET", path, { signal });
}
export const post = (path, body, signal) => answer("POST", path, body === undefined ? { signal } : { signal, body: JSON.stringify(body), headers: { "Content-Type": "application/json" } });
export const del = (path) => answer("DELETE", path);

/** Saves what a path answers with as a file of a name; a refusal is one, not a page. */
export async function save(path, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(await answer("GET", path, {}, (response) => response.blob()));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000); // the browser may still be asking where to
}

export function upload(file) {
  const form = new FormData();
  form.append("file", file, file.name);
  return answer("POST", "/files", { body: form });
}

/**
 * Keeps a view live. begin() reads what is there and returns the path of an event stream, or
 * null if there is nothing to follow; on are its listeners. A stream that tells what happens from
 * now on is named by ahead as well: it is open before begin() reads, and what it tells meanwhile
 * comes after that, or it would be missed. A stream that breaks off is begun again, so a page that
 * was left open over a restart is right again; so is one whose computer slept, whose stream may be
 * dead without having broken off. A hidden page follows nothing. state tells "live", "lost",
 * "ended" or "asleep", and an error. Returns an end.
 */
export function follow({ begin, ahead, on, state }) {
  let source = null, timer = 0, tries = 0, over = false, run = 0;
  const stop = () => { clearTimeout(timer); if (source) source.close(); source = null; run++; };
  const again = (error) => {
    stop();
    if (over || document.hidden) return;
    state("lost", error);
    timer = setTimeout(start, Math.min(10000, 250 * 2 ** tries++));
  };
  async function start() {
    stop();
    const mine = run;
    let held = [], broken = false; // what is told before begin() has read, then null; if it broke off
    const open = (path) => new Promise((done) => { // opened or broken
      source = new EventSource(path);
      source.onopen = done;
      source.onerror = () => { broken = true; done(); if (mine === run && !held) again(); };
      for (const [name, f] of Object.entries(on)) {
        source.addEventListener(name, (e) => {
          const tell = () => { if (mine === run) f(JSON.parse(e.data), restart); };
          if (held) held.push(tell); else tell();
        });
      }
    });
    try {
      if (ahead) await open(ahead);
      if (mine !== run) return;
      const path = await begin(() => mine === run); // which also tells why a stream isn't open
      if (mine !== run) return;
      tries = 0;
      if (!path) { stop(); state("ended"); return; }
      if (broken) { again(); return; } // it may be open anew, without what happened meanwhile
      const told = held;
      held = null;
      told.forEach((tell) => tell());
      if (!ahead) await open(path);
      if (mine === run) state("live");
    } catch (e) {
      if (mine !== run) return;
      if (e.status >= 400 && e.status < 500) { stop(); state("refused", e); }
      else again(e);
    }
  }
  const restart = () => { tries = 0; start(); };
  const restartSeen = () => { if (!document.hidden) restart(); };
  let beat = Date.now();
  const awake = setInterval(() => {
    const slept = Date.now() - beat > 30000;
    beat = Date.now();
    if (slept) restartSeen();
  }, 5000);
  const seen = () => { if (document.hidden) { stop(); state("asleep"); } else { beat = Date.now(); restart(); } };
  document.addEventListener("visibilitychange", seen);
  window.addEventListener("online", restartSeen);
  start();
  return () => { over = true; stop(); clearInterval(awake); window.removeEventListener("online", restartSeen); document.removeEventListener("visibilitychange", seen); };
}
