// Comparisons and sweeps: settings over seeds, their table and what may be concluded.
import { Absent, Card, Code, Lost, Pill, Problem, html, useEffect, useMemo, useState } from "./ui.js";
import { follow, get, mayChange, post } from "./api.js";
import { age, duration, figure, integer, loss } from "./format.js";

export function Comparisons() {
  const [list, setList] = useState(null);
  const [error, setError] = useState(null);
  useEffect(() => { get("/comparisons").then((l) => setList(l.comparisons), setError); }, []);
  return html`<div class="screen"><div class="headline"><h1>Comparisons</h1>${mayChange() && html`<a class="button primary" href="#/new">New comparison</a>`}</div><${Problem} error=${error} />
    ${list && list.length === 0 && html`<p class="muted">None yet. <a href="#/new">New job</a> trains settings beside each other, over seeds, as <b class="mono">scu compare</b> does. Jobs of your own are compared by ticking them on <a href="#/jobs">Jobs</a>.</p>`}
    ${list && list.length > 0 && html`<${Card} cls="table scroll"><table><thead><tr><th>Comparison</th><th>Model</th><th>Settings</th><th class="num">Seeds</th><th class="num">Runs</th><th class="num">Age</th></tr></thead>
      <tbody>${list.map((c) => html`<tr key=${c.comparison_id}><td class="name"><a href=${"#/comparisons/" + c.comparison_id}>${c.name || c.comparison_id}</a></td><td class="muted">${c.base_model}</td><td>${c.settings.join(" · ")}</td><td class="num">${c.seeds.length}</td><td class="num">${c.runs}</td><td class="num muted">${age(c.created_at)}</td></tr>`)}</tbody></table></>`}</div>`;
}

/** A mean over seeds, with its spread. */
function Spread({ of, format = loss }) {
  if (!of) return html`<span class="muted">–</span>`;
  return html`${format(of.mean)}${of.n > 1 && html`<span class="muted"> ± ${figure(of.sd, 2)}</span>`}`;
}

export function Comparison({ id }) {
  const [v, set] = useState({ report: null, link: "", error: null });
  const patch = (x) => set((o) => ({ ...o, ...x }));
  const act = (what) => () => post(`/comparisons/${id}/${what}`).then((report) => patch({ report }), (error) => patch({ error }));
  useEffect(() => follow({
    ahead: "/events",
    begin: async (mine) => {
      const report = await get("/comparisons/" + id);
      if (mine()) patch({ report, error: null });
      return report.status === "running" ? "/events" : null;
    },
    on: { job: (j, restart) => { if (["running", "completed", "failed", "cancelled"].includes(j.status)) restart(); } },
    state: (link, error) => patch({ link, error: error || null }),
  }), [id]);
  const r = v.report;
  if (!r) return html`<${Absent} title=${"Comparison " + id} back=${["#/comparisons", "Comparisons"]} error=${v.error} />`;
  const other = r.rows.some((x) => x.other_loss_best);
  const firsts = r.rows.map((row) => (r.runs.find((x) => x.setting === row.setting) || {}).job_id).filter(Boolean).slice(0, 8);
  return html`<div class="screen" data-link=${v.link} data-status=${r.status}>
    <div class="headline"><div><a class="back" href="#/comparisons">Comparisons</a><h1>${r.name || r.comparison_id}</h1></div><${Pill} status=${r.status} />
      <div class="actions">${firsts.length > 1 && html`<a class="button small" href=${"#/compare?jobs=" + firsts.join(",")}>Show curves</a>`}
        ${mayChange() && r.status === "running" && html`<button class="small" onClick=${act("cancel")}>Cancel</button>`}${mayChange() && ["incomplete", "cancelled"].includes(r.status) && html`<button class="small" onClick=${act("resume")}>Resume</button>`}</div></div>
    <${Lost} link=${v.link} error=${v.error} />
    ${r.verdict.length > 0 && html`<${Card} cls="hero" title="What may be concluded" id="verdict"><ul class="verdicts">${r.verdict.map((t) => html`<li key=${t}>${t}</li>`)}</ul></>`}
    <${Card} cls="table scroll"><table class="results"><thead><tr><th>Setting</th><th class="num">Runs</th><th class="num">Best</th><th class="num">Final</th>${other && html`<th class="num">Other text</th>`}<th class="num">S / target</th><th class="num">λ</th><th class="num">Tokens</th><th class="num">Time</th></tr></thead>
      <tbody>${r.val_loss_before && html`<tr><td class="muted">untouched base</td><td></td><td class="num muted"><${Spread} of=${r.val_loss_before} /></td><td></td>${other && html`<td class="num muted"><${Spread} of=${r.other_loss_before} /></td>`}<td></td><td></td><td></td><td></td></tr>`}
      ${r.rows.map((x) => html`<tr key=${x.setting}><td class="name">${x.setting}</td><td class="num muted">${x.completed} of ${r.seeds.length}</td><td class=${"num" + (r.best && r.best.setting === x.setting ? " best" : "")}><${Spread} of=${x.val_loss_best} /></td><td class="num"><${Spread} of=${x.val_loss_final} /></td>${other && html`<td class="num"><${Spread} of=${x.other_loss_best} /></td>`}
        <td class="num"><${Spread} of=${x.s_ratio} format=${(n) => figure(n, 3)} />${x.target_s ? html`<span class="muted"> / ${figure(x.target_s, 2)}</span>` : ""}</td><td class="num"><${Spread} of=${x.lambda_value} format=${(n) => figure(n, 3)} /></td><td class="num">${x.tokens ? integer(x.tokens) : "–"}</td><td class="num"><${Spread} of=${x.training_time_seconds} format=${duration} /></td></tr>`)}</tbody></table></>
    <${Card} title="Runs" id="runs"><table class="small"><thead><tr><th>Setting</th><th class="num">Seed</th><th>State</th><th>Job</th></tr></thead><tbody>${r.runs.map((x) => html`<tr key=${x.setting + x.seed}><td>${x.setting}</td><td class="num">${x.seed}</td><td><${Pill} status=${x.status} /></td><td class="mono"><a href=${"#/jobs/" + x.job_id}>${x.job_id}</a></td></tr>`)}</tbody></table></>
    ${r.best && r.best.config && html`<${Best} report=${r} />`}
  </div>`;
}

/** The best setting, as a file for scu train --config, and as the beginning of a job. */
function Best({ report: r }) {
  const text = JSON.stringify(r.best.config, null, 2) + "\n";
  const href = useMemo(() => URL.createObjectURL(new Blob([text], { type: "application/json" })), [text]);
  useEffect(() => () => URL.revokeObjectURL(href), [href]);
  const run = r.runs.find((x) => x.setting === r.best.setting && x.status === "completed");
  return html`<${Card} title="The best one's settings" id="best" aside=${html`<div class="actions"><a class="button small" download="best.json" href=${href} aria-label="Download the best one's settings as a file">Download</a>
    ${run && mayChange() && html`<a class="button small" href=${"#/new?from=" + run.job_id}>Train with them</a>`}</div>`}><p class="muted"><b>${r.best.setting}</b>; as a file for <b class="mono">scu train --config best.json</b></p><${Code} text=${text} what="the best settings" /></>`;
}
