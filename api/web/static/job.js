// One job: the controller at work, the losses, and everything that is known of it.
import { Absent, Bar, Card, Lost, Pill, ended, html, useEffect, useRef, useState } from "./ui.js";
import { follow, get, mayChange, rowsOf } from "./api.js";
import { Actions } from "./actions.js";
import { Controller, pinned } from "./controller.js";
import { Losses } from "./losses.js";
import { Timeline } from "./timeline.js";
import { Settings } from "./settings.js";
import { Prompts } from "./prompts.js";
import { Recipe } from "./recipe.js";
import { bytes, dataName, duration, figure, integer, loss, moment, spoken, title, worked } from "./format.js";

const resolution = 1200; // steps, each with a value of every curve
const most = 3 * resolution; // rows kept before they are thinned again

/** What the screen asks for at first. */
export const needs = (id) => [`/jobs/${id}`, `/jobs/${id}/curves?resolution=${resolution}`, `/jobs/${id}/history`];

/** A job with its steps and history, live. */
export function useJob(id, turn) {
  const [v, set] = useState({ job: null, rows: [], atBound: 0, history: [], link: "", error: null });
  const rows = useRef([]), atBound = useRef(0); // the second of all steps, though the rows are thinned
  useEffect(() => {
    const patch = (x) => set((old) => ({ ...old, ...x }));
    let frame = 0;
    const draw = () => { cancelAnimationFrame(frame); frame = requestAnimationFrame(() => patch({ rows: rows.current.slice(), atBound: atBound.current })); };
    let over = false, top = 0; // the highest step that was counted
    const history = () => get(`/jobs/${id}/history`).then((h) => patch({ history: h.entries }), () => {});
    const end = follow({
      begin: async (mine) => {
        const [job, c, h] = await Promise.all(needs(id).map((path) => get(path)));
        if (!mine()) return null;
        rows.current = rowsOf(c);
        atBound.current = c.steps_at_bound;
        top = c.last ? c.last.step : 0;
        over = ended(job.status);
        const status = over ? {} : await get(`/jobs/${id}/status`);
        patch({ job: { ...job, ...status, config: job.config }, rows: rows.current, atBound: atBound.current, history: h.entries, error: null });
        return over ? null : `/jobs/${id}/events?after=${top}`;
      },
      on: {
        metrics: (m, restart) => {
          const r = rows.current, last = r[r.length - 1];
          if (last && m.step <= last.step) rows.current = r.filter((x) => x.step < m.step); // a new attempt goes on from its checkpoint
          if (pinned(m) && m.step > top) atBound.current++; // what is trained again comes to the same
          top = Math.max(top, m.step);
          rows.current.push(m);
          if (rows.current.length > most) restart();
          else draw();
        },
        status: (s, restart) => {
          if (ended(s.status)) { restart(); return; }
          set((old) => ({ ...old, job: { ...old.job, ...s } }));
          history();
          get(`/jobs/${id}/checkpoints`).then((c) => set((old) => ({ ...old, job: { ...old.job, checkpoints: c.checkpoints } })), () => {});
        },
      },
      state: (link, error) => patch({ link: over && link !== "lost" ? "ended" : link, error: error || null }),
    });
    return () => { end(); cancelAnimationFrame(frame); };
  }, [id, turn]);
  return [v, (error) => set((old) => ({ ...old, error })), (job) => set((old) => ({ ...old, job: { ...old.job, ...job } }))];
}

export function Job({ id }) {
  const [turn, setTurn] = useState(0); // begun again when the job was
  const [v, failed, patch] = useJob(id, turn);
  const { job, rows, atBound, history } = v;
  if (!job) return html`<${Absent} title=${"Job " + id} back=${["#/jobs", "Jobs"]} error=${v.error} />`;
  const last = rows[rows.length - 1];
  const done = (what) => { if (what === "delete") location.hash = "#/jobs"; if (what === "stop") patch({ stopping: true }); if (what === "retry" || what === "resume") setTurn(turn + 1); };
  return html`<div class="screen" data-link=${v.link} data-status=${job.status}>
    <div class="headline"><div><a class="back" href="#/jobs">Jobs</a><h1>${title(job)}</h1></div>
      <${Pill} status=${job.status} stopping=${job.stopping} /><${Actions} job=${job} done=${done} failed=${failed} /></div>
    <${Lost} link=${v.link} error=${v.error} />
    ${job.error && html`<div class="note bad" role="alert"><strong>${job.error.message}</strong>${job.error.hint && html`<span>${job.error.hint}</span>`}</div>`}
    ${(job.warnings || []).length > 0 && html`<ul class="warnings" aria-label="Warnings">${job.warnings.map((w) => html`<li key=${w} class="note warn">${w}</li>`)}</ul>`}
    <${Summary} job=${job} last=${last} />
    ${(last || job.status === "running") && html`<${Controller} job=${job} rows=${rows} atBound=${atBound} /><${Losses} job=${job} rows=${rows} />`}
    ${job.adapter && mayChange() && html`<${Prompts} job=${job} />`}
    <div class="columns">
      <${Timeline} entries=${history} job=${job} rows=${rows} />
      <${Checkpoints} job=${job} />
      <${Settings} job=${job} />
      <${Recipe} job=${job} />
    </div>
  </div>`;
}

function Summary({ job, last }) {
  const a = job.adapter && job.adapter.metrics;
  const took = worked(job);
  const facts = [
    ["Model", job.base_model], ["Data", dataName(job)], ["Submitted", moment(job.created_at)],
    job.trainer && ["Trainer", job.trainer], ["Id", job.job_id],
  ].filter(Boolean);
  // Of how many, if it hasn't made them all, and of one that has ended early why.
  const short = a && a.ended_early ? a.ended_early.replace(/^after step \d+ /, "") : last && last.step < last.total_steps ? "of " + integer(last.total_steps) : "";
  let where = spoken(job.current_phase);
  if (job.status === "paused") where = "paused";
  if (job.status === "scheduled") where = "queued at " + moment(job.not_before);
  if (job.status === "queued") where = job.no_trainer ? "waits: no trainer takes it" : job.queue_position === 1 ? "next in the queue" : job.queue_position ? `place ${job.queue_position}${job.queued_before?.more ? " or later" : ""} in the queue` : "queued";
  if (job.silent_seconds) where = `no sign of its trainer for ${job.silent_seconds} s`;
  return html`<section class="card summary" aria-label="Summary">
    ${!ended(job.status) && html`<div class="progress"><${Bar} percent=${last ? (100 * last.step) / last.total_steps : job.progress_percent} label="Progress" status=${job.status} />
      <span class="num">${last && job.status === "running" ? html`step <b>${integer(last.step)}</b> / ${integer(last.total_steps)} · ${duration(last.eta_minutes * 60)} left` : where}</span></div>`}
    <dl class="stats">
      ${a && a.val_loss_before != null ? html`<div class=${"stat lead" + (a.val_loss_after > a.val_loss_before ? " bad" : "")}><dt>Validation loss</dt><dd><span class="was">${loss(a.val_loss_before)}</span> <span aria-hidden="true">→</span> <b>${loss(a.val_loss_after)}</b><small>${figure(100 * Math.abs(1 - a.val_loss_after / a.val_loss_before), 3)} % ${a.val_loss_after > a.val_loss_before ? "higher" : "lower"}</small></dd></div>`
    : html`<div class="stat"><dt>Loss</dt><dd><b>${last ? loss(last.ce) : "–"}</b></dd></div>`}
      <div class="stat"><dt>S / target</dt><dd><b>${last ? figure(last.s_ratio, 3) : "–"}</b> <span class="muted">/ ${figure(job.config.control.target_s, 3)}</span></dd></div>
      <div class="stat"><dt>Steps</dt><dd><b>${last ? integer(last.step) : "–"}</b>${short && html`<small>${short}</small>`}${a && a.kept_step !== a.steps && html`<small>weights of step ${integer(a.kept_step)}</small>`}</dd></div>
      <div class="stat"><dt>Tokens</dt><dd><b>${last ? integer(last.tokens) : "–"}</b>${last && html`<small>${integer(Math.round(last.tokens_per_second))} / s</small>`}</dd></div>
      <div class="stat"><dt>Time</dt><dd><b>${took != null ? duration(took) : "–"}</b></dd></div>
      ${job.adapter && html`<div class="stat"><dt>Adapter</dt><dd><b>${bytes(job.adapter.size)}</b><small>${integer(a.trainable_parameters)} weights</small></dd></div>`}
    </dl>
    <dl class="facts">${facts.map(([k, t]) => html`<div key=${k}><dt>${k}</dt><dd class=${k === "Id" ? "mono" : ""}>${t}</dd></div>`)}</dl>
  </section>`;
}

function Checkpoints({ job }) {
  const list = job.checkpoints || [];
  return html`<${Card} title="Checkpoints" id="checkpoints">
    ${list.length === 0 ? html`<p class="muted">${job.completed_at ? "None was kept." : "None yet."} They are kept at validations.</p>` : html`
    <table class="small"><thead><tr><th class="num">Step</th><th class="num">Validation loss</th><th class="num">S</th><th class="num">Size</th><th><span class="unseen">Download</span></th></tr></thead>
    <tbody>${list.map((c) => html`<tr key=${c.step}><td class="num">${integer(c.step)}</td><td class="num">${loss(c.val_loss)}${c.best && html` <span class="tag good">best</span>`}</td><td class="num">${figure(c.s_ratio, 3)}</td><td class="num muted">${bytes(c.size)}</td>
      <td class="num"><a download href=${`/jobs/${job.job_id}/checkpoints/${c.step}`} aria-label=${"Download the checkpoint of step " + c.step}>Download</a></td></tr>`)}</tbody></table>`}
  </>`;
}
