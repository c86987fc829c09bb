// The first screen: what runs, who trains, and every job.
import { Bar, Card, Lost, Pill, Problem, html, statuses, useEffect, useRef, useState } from "./ui.js";
import { follow, foresee, get, mayChange, rowsOf } from "./api.js";
import { Spark } from "./charts.js";
import { Actions } from "./actions.js";
import { pinned } from "./controller.js";
import { needs } from "./job.js";
import { age, bytes, duration, figure, integer, loss, model, moment, seconds, spoken, title } from "./format.js";

const pageSize = 50;

/** Reports whether a search finds a job, as the server's does. */
function found(job, search) {
  const text = search.toLowerCase(), has = (s) => (s || "").toLowerCase().includes(text);
  return has(job.name) || has(job.base_model) || job.job_id.startsWith(text);
}

/** Jobs, counts, trainers, live. Pages are by key: the last job of one begins the next. */
function useJobs(status, search) {
  const [v, set] = useState({ jobs: null, counts: {}, trainers: [], live: {}, queue: {}, link: "", error: null, more: false, list: null });
  const patch = (f) => set((old) => ({ ...old, ...f(old) }));
  const path = (after) => `/jobs?limit=${pageSize}${status ? "&status=" + status : ""}${search ? "&search=" + encodeURIComponent(search) : ""}${after ? "&after=" + after : ""}`;
  const around = useRef(0);
  const lookAround = () => { // counts, trainers and places in the queue, once for many changes
    clearTimeout(around.current);
    around.current = setTimeout(async () => {
      try {
        const [counts, t] = await Promise.all([get("/jobs/counts"), get("/trainers")]);
        patch(() => ({ counts, trainers: t.trainers }));
      } catch { /* the stream tells that the server is gone */ }
    }, 200);
  };
  useEffect(() => {
    const end = follow({
      ahead: "/events",
      begin: async (mine) => {
        const [list, counts, t] = await Promise.all([get(path()), get("/jobs/counts"), get("/trainers")]);
        let running = list.jobs.filter((j) => j.status === "running");
        if (running.length < (counts.running || 0)) running = (await get("/jobs?status=running&limit=8")).jobs;
        const live = {};
        await Promise.all(running.slice(0, 8).map(async (j) => {
          const [detail, c] = await Promise.all([get(`/jobs/${j.job_id}`), get(`/jobs/${j.job_id}/curves?resolution=200`)]);
          live[j.job_id] = { summary: { ...j, config: detail.config }, rows: rowsOf(c) };
        }));
        if (mine()) patch(() => ({ jobs: list.jobs, more: list.count === pageSize, list: { path }, counts, trainers: t.trainers, live, error: null }));
        return "/events";
      },
      on: {
        metrics: (m) => patch((o) => {
          const l = o.live[m.job_id];
          const jobs = o.jobs.map((j) => (j.job_id === m.job_id ? { ...j, step: m.step, total_steps: m.total_steps, progress_percent: Math.min(99.9, (100 * m.step) / m.total_steps) } : j));
          if (!l) return { jobs };
          return { jobs, live: { ...o.live, [m.job_id]: { ...l, rows: [...l.rows.slice(-300), m] } } };
        }),
        job: (j) => {
          lookAround();
          patch((o) => {
            const live = { ...o.live };
            if (j.status === "running") live[j.job_id] = { rows: [], ...o.live[j.job_id], summary: { ...(o.live[j.job_id] || {}).summary, ...j } };
            else delete live[j.job_id];
            const at = o.jobs.findIndex((x) => x.job_id === j.job_id);
            let jobs = o.jobs;
            if (status && j.status !== status || search && !found(j, search)) jobs = jobs.filter((x) => x.job_id !== j.job_id);
            else if (at >= 0) jobs = jobs.map((x) => (x.job_id === j.job_id ? { ...x, ...j } : x));
            else if (!o.jobs.length || j.created_at >= o.jobs[o.jobs.length - 1].created_at) jobs = [...jobs, j].sort((a, b) => (a.created_at < b.created_at ? 1 : -1));
            return { jobs, live };
          });
        },
        deleted: (d) => { lookAround(); patch((o) => ({ jobs: o.jobs.filter((j) => j.job_id !== d.job_id) })); },
      },
      state: (link, error) => patch(() => ({ link, error: error || null })),
    });
    const beat = setInterval(() => { if (!document.hidden) lookAround(); }, 10000); // trainers come and go unheard
    return () => { end(); clearInterval(beat); clearTimeout(around.current); };
  }, [status, search]);
  const more = async () => { // of the list that is shown: another one may be on its way
    const last = v.jobs[v.jobs.length - 1];
    try {
      const next = await get(v.list.path(last.job_id));
      patch((o) => (o.list === v.list ? { jobs: [...o.jobs, ...next.jobs], more: next.count === pageSize } : {}));
    } catch (error) { patch(() => ({ error })); }
  };
  return [v, more, (error) => patch(() => ({ error }))];
}

/** A text once nobody has typed for a moment. */
function useSettled(text) {
  const [settled, set] = useState(text);
  useEffect(() => { const t = setTimeout(() => set(text), 200); return () => clearTimeout(t); }, [text]);
  return settled;
}

/** A link to a job, which is asked for when a pointer rests on it or the keyboard reaches it. */
function JobLink({ job }) {
  const rests = useRef(0);
  const ask = () => foresee(...needs(job.job_id));
  return html`<a href=${"#/jobs/" + job.job_id} onPointerEnter=${() => { rests.current = setTimeout(ask, 60); }} onPointerLeave=${() => clearTimeout(rests.current)}
    onPointerDown=${ask} onFocus=${ask}>${title(job)}</a>`;
}

export function Jobs() {
  const [status, setStatus] = useState("");
  const [ticked, setTicked] = useState([]);
  const [word, setWord] = useState("");
  const search = useSettled(word.trim());
  const [v, more, failed] = useJobs(status, search);
  const total = statuses.reduce((n, s) => n + (v.counts[s] || 0), 0);
  if (!v.jobs) return html`<div class="wait" aria-busy="true"><${Problem} error=${v.error} /></div>`;
  const tick = (id) => setTicked((t) => (t.includes(id) ? t.filter((x) => x !== id) : [...t, id]));
  const running = Object.values(v.live);
  return html`
    <div class="screen" data-link=${v.link}>
    <div class="headline"><h1>Jobs</h1>${mayChange() && html`<a class="button primary" href="#/new">New job</a>`}</div>
    <${Lost} link=${v.link} error=${v.error} />
    ${total === 0 && v.link !== "" ? html`<${Empty} />` : html`
    <div class="now">${running.map((r) => html`<${Running} key=${r.summary.job_id} job=${r.summary} rows=${r.rows} failed=${failed} />`)}</div>
    <${Trainers} list=${v.trainers} queued=${v.counts.queued} />
    <${Card} cls="table">
      <div class="filters">
        <div role="group" aria-label="Filter by state" class="chips">
          <button class="chip" aria-pressed=${String(!status)} onClick=${() => setStatus("")}>All <b>${integer(total)}</b></button>
          ${statuses.filter((s) => v.counts[s] || s === status || !["scheduled", "paused"].includes(s)).map((s) => html`<button key=${s} class=${"chip " + s} aria-pressed=${String(status === s)} onClick=${() => setStatus(s)}>${s} <b>${integer(v.counts[s] || 0)}</b></button>`)}
        </div>
        <input type="search" name="search" aria-label="Filter by name, model or id" placeholder="Name, model or id" maxlength="200" value=${word} onInput=${(e) => setWord(e.target.value)} />
        ${ticked.length > 0 && html`<span class="picked">${ticked.length === 1 ? "Tick another one to compare" : html`<a class="button primary small" href=${"#/compare?jobs=" + ticked.join(",")}>Compare ${ticked.length} jobs</a>`}
          <button class="link" onClick=${() => setTicked([])}>Clear</button></span>`}
      </div>
      ${v.jobs.length === 0 ? html`<p class="none muted" role="status">No job ${[status && "is " + status, search && `matches “${search}”`].filter(Boolean).join(" and ") || "is left"}.</p>` : html`
      <table><thead><tr><th class="tick"><span class="unseen">Compare</span></th><th>Job</th><th>State</th><th class="wide">Model</th><th class="num">Step</th><th class="num">Validation loss</th><th class="num wide">S / target</th><th class="num">Age</th><th><span class="unseen">Actions</span></th></tr></thead>
      <tbody>${v.jobs.map((j) => html`<${Row} key=${j.job_id} job=${j} ticked=${ticked.includes(j.job_id)} tick=${tick} failed=${failed} turn=${v.counts.queued + "/" + v.counts.running} />`)}</tbody></table>`}
      ${v.more && html`<div class="more"><button onClick=${more}>Show older jobs</button></div>`}
    </>`}
    </div>`;
}

function Empty() {
  if (!mayChange()) return html`<p class="empty"><strong>No jobs yet.</strong></p>`;
  const drop = (e) => { e.preventDefault(); if (e.dataTransfer.files[0]) { window.droppedFile = e.dataTransfer.files[0]; location.hash = "#/new"; } };
  return html`<a class="drop empty" href="#/new" onDragOver=${(e) => e.preventDefault()} onDrop=${drop}>
    <img src="/assets/icon.svg" alt="" width="48" height="48" />
    <strong>No jobs yet. Drop a .txt or .jsonl file here.</strong>
    <span class="muted">It is checked, line by line, before anything is trained. Or click to choose one.</span></a>`;
}

function Running({ job, rows, failed }) {
  const m = rows[rows.length - 1];
  const target = m ? m.target_s : job.target_s;
  const atBound = m && pinned(m);
  return html`<section class="card run" aria-label=${"Running: " + title(job)}>
    <header><h2><a href=${"#/jobs/" + job.job_id}>${title(job)}</a></h2><${Pill} status=${job.status} stopping=${job.stopping} />
      <span class="muted" title=${job.base_model}>${model(job.base_model)}</span><div class="aside"><${Actions} job=${job} failed=${failed} compact /></div></header>
    <div class="progress"><${Bar} percent=${m ? (100 * m.step) / m.total_steps : job.progress_percent} label="Progress" status="running" />
      <span class="num">${m ? html`step <b>${integer(m.step)}</b> / ${integer(m.total_steps)}` : spoken(job.current_phase)}</span></div>
    ${m && html`<dl class="stats">
      <div class="stat"><dt>Loss</dt><dd><b>${loss(m.ce)}</b><${Spark} values=${rows.map((r) => r.ce)} color="--train" label="Loss so far" /></dd></div>
      <div class="stat"><dt>S <span class="muted">target ${figure(target, 3)}</span></dt><dd><b>${figure(m.s_ratio, 3)}</b><${Spark} values=${rows.map((r) => r.s_ratio)} color="--s" label="S so far" /></dd></div>
      <div class=${"stat" + (atBound ? " bad" : "")}><dt>λ ${atBound && html`<span class="tag bad">at its bound</span>`}</dt><dd><b>${figure(m.lambda_value, 3)}</b><${Spark} values=${rows.map((r) => Math.log(r.lambda_value || 1e-9))} color="--lambda" label="Lambda so far" /></dd></div>
      <div class="stat"><dt>Left</dt><dd><b>${duration(m.eta_minutes * 60)}</b><small>${integer(Math.round(m.tokens_per_second))} tok/s</small></dd></div>
    </dl>`}
  </section>`;
}

function Trainers({ list, queued }) {
  if (!list.length) return html`<div class="note warn" role="status"><strong>No trainer is there.</strong><span>${queued ? "Queued jobs wait until one is started" : "Start one"}: scu trainer, or scu serve.</span></div>`;
  return html`<ul class="trainers" aria-label="Trainers">${list.map((t) => html`<li key=${t.trainer}>
    <i class=${t.job_id ? "busy" : "idle"} aria-hidden="true"></i><b>${t.trainer}</b>
    <span>${(t.devices || t.classes || []).join(", ")}</span>${t.memory ? html`<span class="muted">${bytes(t.memory)}</span>` : null}
    <span>${t.job_id ? html`trains <a href=${"#/jobs/" + t.job_id}>${t.job_id.slice(0, 8)}</a>` : "idle"}</span>
    <span class="muted">${age(t.seen)}</span></li>`)}</ul>`;
}

function Row({ job: j, ticked, tick, failed, turn }) {
  const off = j.s_ratio != null && (j.s_ratio > 1.5 * j.target_s || j.s_ratio < j.target_s / 1.5);
  const step = j.total_steps ? html`${integer(j.step)}<span class="muted"> / ${integer(j.total_steps)}</span>` : j.status === "queued" ? html`<${Place} id=${j.job_id} turn=${turn} />`
    : j.status === "scheduled" ? html`<span class="muted" title=${moment(j.not_before)}>in ${duration(seconds(new Date(), j.not_before))}</span>` : null;
  const cell = (cls, content) => html`<td class=${cls + (content ? "" : " nil")}>${content || html`<span class="muted">–</span>`}</td>`;
  return html`<tr data-job=${j.job_id}>
    <td class="tick"><input type="checkbox" aria-label=${"Compare " + title(j)} checked=${ticked} onChange=${() => tick(j.job_id)} /></td>
    <td class="name"><${JobLink} job=${j} /><div>${j.name && html`<small class="mono">${j.job_id.slice(0, 8)}</small>`}${(j.warnings || []).length > 0 && html`<span class="tag warn" title=${j.warnings.join("\n")}>${j.warnings.length === 1 ? "1 warning" : j.warnings.length + " warnings"}</span>`}
      ${j.error && html`<small class="why" title=${j.error.hint}>${j.error.message}</small>`}</div></td>
    <td class="state"><${Pill} status=${j.status} stopping=${j.stopping} /></td>
    <td class="wide muted" title=${j.base_model}>${model(j.base_model)}</td>
    ${cell("num step", step)}
    ${cell("num loss" + (j.val_loss_after > j.val_loss_before ? " worse" : ""), j.val_loss_before != null && html`<span class="muted">${loss(j.val_loss_before)} → </span>${loss(j.val_loss_after)}`)}
    <td class=${"num wide" + (off ? " off" : "")}>${j.s_ratio != null ? figure(j.s_ratio, 2) : html`<span class="muted">–</span>`}<span class="muted"> / ${figure(j.target_s, 2)}</span></td>
    <td class="num age muted" title=${j.created_at}>${age(j.created_at)}</td>
    <td class="acts"><${Actions} job=${j} failed=${failed} compact="row" /></td></tr>`;
}

/** A queued job's place. */
function Place({ id, turn }) {
  const [s, setS] = useState(null);
  useEffect(() => {
    let on = true;
    get(`/jobs/${id}/status`).then((x) => on && setS(x), () => {});
    return () => { on = false; };
  }, [id, turn]);
  if (!s || !s.queue_position) return html`<span class="muted">–</span>`;
  return html`<span class="muted">${s.no_trainer ? "no trainer takes it" : s.queue_position === 1 ? "next" : "place " + s.queue_position + (s.queued_before?.more ? "+" : "")}</span>`;
}
