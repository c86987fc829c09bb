// Jobs side by side: their curves on one scale, what differs in their settings, how they ended.
import { Absent, Card, Lost, Pill, ended, html, useEffect, useMemo, useState } from "./ui.js";
import { follow, get, rowsOf } from "./api.js";
import { Chart, rule } from "./charts.js";
import { smooth } from "./losses.js";
import { flat, same, shown, useDefaults } from "./settings.js";
import { dataName, duration, figure, integer, loss, title, worked } from "./format.js";

const most = 8;
const colors = Array.from({ length: most }, (_, i) => "--c" + (i + 1));

function useAll(ids) {
  const [v, set] = useState({ jobs: null, link: "", error: null });
  useEffect(() => follow({
    ahead: "/events",
    begin: async (mine) => {
      const jobs = await Promise.all(ids.map(async (id) => {
        const [job, c] = await Promise.all([get("/jobs/" + id), get(`/jobs/${id}/curves?resolution=1000`)]);
        return { job, rows: rowsOf(c) };
      }));
      if (mine()) set((o) => ({ ...o, jobs, error: null }));
      return jobs.some((j) => !ended(j.job.status)) ? "/events" : null;
    },
    on: {
      metrics: (m) => set((o) => ({ ...o, jobs: o.jobs.map((j) => (j.job.job_id === m.job_id ? { ...j, rows: [...j.rows.filter((r) => r.step < m.step), m] } : j)) })),
      job: (j, restart) => { if (ids.includes(j.job_id)) restart(); },
    },
    state: (link, error) => set((o) => ({ ...o, link, error: error || null })),
  }), [ids.join()]);
  return v;
}

/** One table of several runs: [steps, ...one column a run]. */
const joined = (jobs, of) => uPlot.join(jobs.map((j) => [j.rows.map((r) => r.step), of(j.rows, j.job)]));

export function Compare({ ids }) {
  const wanted = ids.slice(0, most);
  const v = useAll(wanted);
  const defs = useDefaults();
  const jobs = v.jobs || [];
  const data = useMemo(() => jobs.length > 0 && {
    val: joined(jobs, (rows) => rows.map((r) => r.val_loss ?? null)),
    ce: joined(jobs, (rows) => smooth(rows.map((r) => r.ce))),
    s: joined(jobs, (rows, job) => rows.map((r) => r.s_hat / job.config.control.target_s)),
    lambda: joined(jobs, (rows) => rows.map((r) => r.lambda_value)),
  }, [v.jobs]);
  if (wanted.length < 2) return html`<div class="screen"><h1>Compare</h1><p class="muted">Tick two jobs or more on <a href="#/jobs">Jobs</a>.</p></div>`;
  if (!data) return html`<${Absent} title="Compare" back=${["#/jobs", "Jobs"]} error=${v.error} />`;
  const series = (points) => jobs.map((j, i) => ({ label: title(j.job), color: colors[i], width: 2, points }));
  const chart = (name, label, d, extra) => html`<${Card} title=${label} id=${"c-" + name}><${Chart} key=${wanted.join() + name} label=${label + " over the steps"} data=${d} series=${series(name === "val")} height=${220} sync="compare" ...${extra} /></>`;
  return html`<div class="screen" data-link=${v.link}>
    <div class="headline"><div><a class="back" href="#/jobs">Jobs</a><h1>Compare ${jobs.length} jobs</h1></div></div>
    <${Lost} link=${v.link} error=${v.error} />
    ${ids.length > most && html`<div class="note warn">The first ${most} of ${ids.length} are shown.</div>`}
    <${Results} jobs=${jobs} />
    <div class="columns two">
      ${chart("val", "Validation loss", data.val, {})}
      ${chart("ce", "Training loss, smoothed", data.ce, {})}
      ${chart("s", "S over its target", data.s, { scale: { log: true, range: (u, lo, hi) => (lo == null ? [0.1, 10] : [Math.min(lo, 0.8) / 1.2, Math.max(hi, 1.2) * 1.2]) }, over: (u, css) => rule(u, 1, css("--target"), "at its target") })}
      ${chart("lambda", "λ", data.lambda, { scale: { log: true } })}
    </div>
    <${Differences} jobs=${jobs} defs=${defs} />
  </div>`;
}

function Results({ jobs }) {
  const rows = jobs.map(({ job, rows: r }) => {
    const a = job.adapter && job.adapter.metrics, last = r[r.length - 1];
    const vals = r.filter((x) => x.val_loss != null);
    const best = vals.reduce((b, x) => (b == null || x.val_loss < b.val_loss ? x : b), null);
    return {
      job, last, best, before: a ? a.val_loss_before : null, final: vals.length ? vals[vals.length - 1].val_loss : null,
      took: worked(job),
    };
  });
  const least = Math.min(...rows.map((r) => (r.best ? r.best.val_loss : Infinity)));
  return html`<${Card} cls="table scroll" title="">
    <table class="results"><thead><tr><th>Job</th><th>State</th><th class="num">Before</th><th class="num">Best</th><th class="num">at step</th><th class="num">Final</th><th class="num">S / target</th><th class="num">λ</th><th class="num">Tokens</th><th class="num">Time</th></tr></thead>
    <tbody>${rows.map((r, i) => html`<tr key=${r.job.job_id}><td class="name"><i class=${"swatch s" + (i + 1)} aria-hidden="true"></i><a href=${"#/jobs/" + r.job.job_id}>${title(r.job)}</a></td><td><${Pill} status=${r.job.status} /></td>
      <td class="num muted">${loss(r.before)}</td><td class=${"num" + (r.best && r.best.val_loss === least ? " best" : "")}>${r.best ? loss(r.best.val_loss) : "–"}</td><td class="num muted">${r.best ? integer(r.best.step) : "–"}</td><td class="num">${loss(r.final)}</td>
      <td class="num">${r.last ? figure(r.last.s_hat, 3) : "–"}<span class="muted"> / ${figure(r.job.config.control.target_s, 2)}</span></td><td class="num">${r.last ? figure(r.last.lambda_next, 3) : "–"}</td><td class="num">${r.last ? integer(r.last.tokens) : "–"}</td><td class="num">${r.took != null ? duration(r.took) : "–"}</td></tr>`)}</tbody></table></>`;
}

function Differences({ jobs, defs }) {
  const all = jobs.map((j) => ({ base_model: j.job.base_model, data: dataName(j.job), ...flat(j.job.config) }));
  const keys = [...new Set(all.flatMap(Object.keys))].filter((k) => all.some((c) => !same(c[k], all[0][k])));
  return html`<${Card} title="Settings that differ" id="differences">
    ${keys.length === 0 ? html`<p class="muted">None: the same settings.</p>` : html`<div class="scroll"><table class="small settings"><thead><tr><th>Setting</th>${jobs.map((j, i) => html`<th key=${i}><i class=${"swatch s" + (i + 1)} aria-hidden="true"></i>${title(j.job)}</th>`)}<th>Default</th></tr></thead>
    <tbody>${keys.map((k) => html`<tr key=${k} class="diff"><td class="mono">${k}</td>${all.map((c, i) => html`<td key=${i} class="mono"><b>${shown(c[k])}</b></td>`)}<td class="mono muted">${defs && defs[k] ? shown(defs[k].value) : "–"}</td></tr>`)}</tbody></table></div>`}</>`;
}
