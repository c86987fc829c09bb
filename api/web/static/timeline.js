// What a job went through: its states and attempts, drawn to scale, then in words.
import { Card, ended, html } from "./ui.js";
import { clock, duration, integer, seconds, spoken } from "./format.js";

/** Stretches of one state or phase: {name, kind, from, to, attempt}. */
export function stretches(entries, now) {
  const out = [];
  let open = null; // the one that goes on; none after an end, which a retry may follow
  for (const e of entries) {
    const kind = e.status === "running" ? (e.current_phase || "running") : e.status;
    if (open && open.kind === kind && open.attempt === e.attempt) continue;
    if (open) open.to = e.time;
    open = ended(e.status) ? null : { kind, name: spoken(kind), attempt: e.attempt, from: e.time, to: now };
    if (open) out.push(open);
  }
  return out;
}

const told = {
  submitted: () => "Submitted",
  scheduled: () => "Submitted, to be queued later",
  started: (e) => `Attempt ${e.attempt} started on ${e.trainer}`,
  phase: (e) => spoken(e.current_phase).replace(/^./, (c) => c.toUpperCase()),
  checkpoint: (e) => `Checkpoint of step ${integer(e.step)}`,
  stop: () => "Asked to stop and keep what it learned",
  handed_back: () => "Handed back to the queue by its trainer",
  completed: () => "Completed",
  failed: (e) => "Failed" + (e.error ? ": " + e.error.message : ""),
  cancelled: () => "Cancelled",
  paused: () => "Paused", resumed: () => "Queued again", retried: () => "Tried again",
};

export function Timeline({ entries, job }) {
  const parts = stretches(entries, new Date().toISOString());
  const whole = parts.reduce((n, p) => n + Math.max(0.001, seconds(p.from, p.to)), 0);
  const attempts = [...new Set(parts.map((p) => p.attempt).filter(Boolean))];
  return html`<${Card} title="Timeline" id="timeline" aside=${html`<span class="muted">${attempts.length > 1 ? attempts.length + " attempts" : ""}</span>`}>
    <div class="track" role="img" aria-label=${parts.map((p) => `${p.name} ${duration(seconds(p.from, p.to))}`).join(", ")}>
      ${parts.map((p, i) => html`<div key=${i} class=${"seg " + p.kind} style=${{ flexGrow: Math.max(0.004, seconds(p.from, p.to) / whole) }} title=${`${p.name}, ${duration(seconds(p.from, p.to))}${p.attempt ? ", attempt " + p.attempt : ""}`}></div>`)}
    </div>
    <ol class="events" tabindex="0" aria-label="Events">${entries.map((e, i) => html`<li key=${i} class=${e.type + " " + e.status}><time datetime=${e.time}>${clock(e.time)}</time>
      <span>${(told[e.type] || (() => spoken(e.type)))(e)}</span>${i > 0 && html`<small class="muted">+ ${duration(seconds(entries[i - 1].time, e.time))}</small>`}</li>`)}</ol></>`;
}
