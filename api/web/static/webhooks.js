// Webhooks: addresses that the server tells when jobs change, and what became of each try.
import { Card, Code, Problem, confirmed, html, useEffect, useState } from "./ui.js";
import { del, get, mayChange, post } from "./api.js";
import { age, moment, spoken } from "./format.js";

const events = ["submitted", "started", "completed", "failed", "cancelled"];
const usual = ["completed", "failed", "cancelled"];
const every = 5000; // between two looks at the deliveries, in ms

export function Webhooks() {
  const [list, setList] = useState(null);
  const [made, setMade] = useState(null);
  const [error, setError] = useState(null);
  const look = () => get("/webhooks").then((l) => setList(l.webhooks), setError);
  useEffect(() => { look(); }, []);
  return html`<div class="screen"><div class="headline"><h1>Webhooks</h1></div>
    <p class="muted">The server tells an address when jobs change: by a signed message (Standard Webhooks), again for a day until it answers 2xx.</p>
    <${Problem} error=${error} />
    ${made && html`<${Card} title="The secret of the new webhook" id="secret"><p>Keep it where messages are checked: it isn't shown again.</p><${Code} text=${made.secret} what="the secret" /></>`}
    ${mayChange() && html`<${Add} done=${(w) => { setMade(w); look(); }} />`}
    ${list && list.length === 0 && html`<p class="muted">None yet.</p>`}
    ${(list || []).map((w) => html`<${Webhook} key=${w.webhook_id} hook=${w} removed=${() => { setMade(null); look(); }} />`)}</div>`;
}

function Add({ done }) {
  const [url, setURL] = useState("");
  const [chosen, setChosen] = useState(usual);
  const [error, setError] = useState(null);
  const add = async (e) => {
    e.preventDefault();
    setError(null);
    try { done(await post("/webhooks", { url: url.trim(), events: chosen })); setURL(""); } catch (refusal) { setError(refusal); }
  };
  return html`<${Card} title="Add one" id="add"><form class="hook" onSubmit=${add}>
    <label>Address<input name="url" type="url" required value=${url} placeholder="https://example.com/hook" onInput=${(e) => setURL(e.target.value)} aria-invalid=${String(!!error)} /></label>
    <fieldset><legend>When a job is</legend>${events.map((e) => html`<label key=${e} class="inline"><input type="checkbox" name=${e} checked=${chosen.includes(e)} onChange=${() => setChosen((c) => events.filter((x) => (x === e) !== c.includes(x)))} />${e}</label>`)}</fieldset>
    <${Problem} error=${error} />
    <div class="go"><button class="primary" disabled=${!url.trim() || !chosen.length}>Add</button></div></form></>`;
}

function Webhook({ hook: w, removed }) {
  const [tries, setTries] = useState(null);
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState(null);
  const [lost, setLost] = useState(null); // what the last look met
  const path = "/webhooks/" + w.webhook_id;
  const look = () => get(path + "/deliveries?limit=20").then((d) => { setTries(d.deliveries); setLost(null); }, setLost);
  useEffect(() => {
    look();
    const t = setInterval(() => { if (!document.hidden) look(); }, every);
    return () => clearInterval(t);
  }, [path]);
  const test = async () => {
    setBusy(true);
    setError(null);
    try { await post(path + "/test"); await look(); } catch (refusal) { setError(refusal); }
    setBusy(false);
  };
  const remove = () => confirmed(`Remove the webhook to ${w.url}, with the log of its deliveries?`) && del(path).then(removed, setError);
  return html`<${Card} title=${w.url} id=${"hook-" + w.webhook_id} cls="webhook" aside=${html`<div class="actions"><button class="small" disabled=${busy || !mayChange()} aria-label=${"Send a test to " + w.url} onClick=${test}>${busy ? "Sending…" : "Send a test"}</button>
      ${mayChange() && html`<button class="small danger" aria-label=${"Remove " + w.url} onClick=${remove}>Remove</button>`}</div>`}>
    <p class="muted">${w.events.map((e) => html`<span class="tag" key=${e}>${e}</span> `)} added ${age(w.created_at)}</p>
    <${Problem} error=${error || lost} />
    ${tries && tries.length === 0 && html`<p class="muted">Nothing was sent yet.</p>`}
    ${tries && tries.length > 0 && html`<div class="scroll"><table class="small deliveries"><thead><tr><th>Sent</th><th>What</th><th>Job</th><th class="num">Try</th><th>Answer</th><th>Next try</th></tr></thead>
      <tbody>${tries.map((d) => html`<tr key=${d.message_id + d.try + d.time}><td class="muted" title=${d.time}>${moment(d.time)}</td><td>${spoken(d.type.replace(/^job\./, "").replace("webhook.test", "test"))}</td><td class="mono">${d.job_id ? html`<a href=${"#/jobs/" + d.job_id}>${d.job_id.slice(0, 8)}</a>` : "–"}</td><td class="num">${d.try}</td>
        <td><span class=${"tag " + (d.delivered ? "good" : "bad")}>${d.delivered ? "delivered" : "failed"}</span> ${d.error || d.status || ""}</td><td class="muted">${d.next_try ? moment(d.next_try) : "–"}</td></tr>`)}</tbody></table></div>`}</>`;
}
