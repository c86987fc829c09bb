// The frame around the screens: the address, the session, the state of the server.
import { html, render, useEffect, useState } from "./ui.js";
import { del, foresee, get, mayChange, signedInAs, whenUnauthorized } from "./api.js";
import { Jobs } from "./jobs.js";
import { Job, needs } from "./job.js";
import { NewJob } from "./newjob.js";
import { Compare } from "./compare.js";
import { Comparison, Comparisons } from "./comparisons.js";
import { Webhooks } from "./webhooks.js";
import { SignIn } from "./signin.js";

/** The screen and what it shows are in the address's fragment: #/jobs/ID?x=y. */
function place() {
  const [path, query] = location.hash.replace(/^#\/?/, "").split("?");
  const [screen, id] = path.split("/");
  return { screen: screen || "jobs", id, query: new URLSearchParams(query || "") };
}

function usePlace() {
  const [at, setAt] = useState(place());
  useEffect(() => {
    const moved = () => {
      const to = place();
      if (to.screen === "jobs" && to.id) foresee(...needs(to.id)); // while the screen before it goes
      setAt(to);
      window.scrollTo(0, 0);
    };
    window.addEventListener("hashchange", moved);
    return () => window.removeEventListener("hashchange", moved);
  }, []);
  return at;
}

function Health() {
  const [h, setH] = useState(null);
  useEffect(() => {
    let timer;
    const ask = () => fetch("/health").then((r) => r.json()).then(setH, () => setH({ status: "unreachable", problems: [] }))
      .finally(() => { timer = setTimeout(ask, document.hidden ? 60000 : 10000); });
    ask();
    return () => clearTimeout(timer);
  }, []);
  if (!h) return html`<span class="health"></span>`;
  return html`<span class=${"health " + h.status} role="status" title=${(h.problems || []).join(", ")}><i aria-hidden="true"></i>${h.status}${h.version && html` <span class="version">${h.version}</span>`}</span>`;
}

function Shell() {
  const at = usePlace();
  const [session, setSession] = useState(null);
  const ask = () => get("/session").then((s) => { signedInAs(s); setSession(s); }, () => setTimeout(ask, 1000));
  useEffect(() => { ask(); whenUnauthorized(() => setSession({ key_needed: true, signed_in: false })); }, []);
  useEffect(() => {
    const names = { jobs: at.id ? "Job " + at.id : "Jobs", new: "New job", compare: "Compare", comparisons: "Comparisons", webhooks: "Webhooks" };
    document.title = (names[at.screen] || "Jobs") + " · scu";
  }, [at.screen, at.id]);
  if (!session) return html`<header class="top"><div class="in"><span class="brand"><img src="/assets/icon.svg" alt="" width="24" height="24" />scu</span></div></header><main class="wait" aria-busy="true"></main>`;
  if (!session.signed_in) return html`<${SignIn} done=${ask} />`;
  let screen;
  if (at.screen === "jobs" && at.id) screen = html`<${Job} key=${at.id} id=${at.id} />`;
  else if (at.screen === "new") screen = html`<${NewJob} key=${location.hash} from=${at.query.get("from")} />`;
  else if (at.screen === "compare") screen = html`<${Compare} key=${location.hash} ids=${(at.query.get("jobs") || "").split(",").filter(Boolean)} />`;
  else if (at.screen === "comparisons") screen = at.id ? html`<${Comparison} key=${at.id} id=${at.id} />` : html`<${Comparisons} />`;
  else if (at.screen === "webhooks") screen = html`<${Webhooks} />`;
  else screen = html`<${Jobs} />`;
  const link = (to, name) => html`<a href=${"#/" + to} aria-current=${at.screen === to.split("/")[0] ? "page" : undefined}>${name}</a>`;
  return html`
    <a class="skip" href="#main" onClick=${(e) => { e.preventDefault(); document.getElementById("main").focus(); }}>Skip to the content</a>
    <header class="top"><div class=${"in" + (session.key_needed ? " keyed" : "")}>
      <a class="brand" href="#/jobs" aria-label="scu, to the jobs"><img src="/assets/icon.svg" alt="" width="24" height="24" />scu</a>
      <nav aria-label="Screens">${link("jobs", "Jobs")}${mayChange() && link("new", "New job")}${link("comparisons", "Comparisons")}</nav>
      <div class="end"><${Health} />${link("webhooks", "Webhooks")}<a href="/docs">API</a>
        ${session.owner && html`<span class="who" title=${"A key of scope " + session.scope}>${session.owner}</span>`}
        ${session.key_needed && html`<button class="link" onClick=${() => del("/session").then(ask, () => {})}>Sign out</button>`}</div>
    </div></header>
    <main id="main" tabindex="-1">${screen}</main>`;
}

const root = document.getElementById("app");
root.replaceChildren(); // what the page shows until it is here
render(html`<${Shell} />`, root);
