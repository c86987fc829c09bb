// The controller at work: S with its target above lambda with its bounds, one cursor for both.
import { Card, ended, html, useMemo } from "./ui.js";
import { Chart, band, rule } from "./charts.js";
import { figure, integer } from "./format.js";

// A job that ends further off its target than this is warned of; so is the band that is drawn.
const tolerance = 1.5;

/** What the controller is doing now, in words. */
export function inWords(m, job) {
  if (!m) return "It begins with the first step.";
  const ratio = m.s_hat / m.target_s;
  const off = Math.abs(ratio - 1) < 0.05 ? "at its target" : ratio > 1
    ? (ratio >= 2 ? `${figure(ratio, 2)} times its target` : `${Math.round(100 * (ratio - 1))} % over its target`)
    : `${Math.round(100 * (1 - ratio))} % under its target`;
  if (ended(job.status)) return `It ended with S ${off}, λ ${figure(m.lambda_next, 3)}${pinned(m) ? ", at its bound" : ""}.`;
  if (job.status === "paused") return `It is paused with S ${off}, λ ${figure(m.lambda_next, 3)}.`;
  if (m.lambda_max != null) return `S is ${off}, and λ rests at its upper bound ${figure(m.lambda_max, 2)}: it can't press harder.`;
  if (m.lambda_min != null) return `S is ${off}, and λ rests at its lower bound ${figure(m.lambda_min, 2)}: it can't let go further.`;
  if (Math.abs(ratio - 1) < 0.05) return "S is at its target, and λ holds it there.";
  const change = m.lambda_next / m.lambda_value - 1;
  const way = Math.abs(change) < 0.001 ? "holds still"
    : change > 0 ? (ratio > 1 ? "rises, to press the adapter's weights down" : "rises already, since S is on its way up")
    : (ratio > 1 ? "falls already, since S is on its way down" : "falls, to let the adapter learn more");
  return `S is ${off}: λ ${way}.`;
}

/** Reports whether a step left lambda at a bound. */
export const pinned = (r) => r.at_bound || r.lambda_min != null || r.lambda_max != null;

export function Controller({ job, rows, atBound }) {
  const c = job.config.control;
  const last = rows[rows.length - 1];
  const data = useMemo(() => {
    const x = rows.map((r) => r.step);
    return {
      s: [x, rows.map((r) => r.s_ratio), rows.map((r) => r.s_hat)],
      lambda: [x, rows.map((r) => r.lambda_value), rows.map((r) => (pinned(r) ? r.lambda_next : null))],
    };
  }, [rows]);
  const state = !last ? "" : pinned(last) ? "bad" : Math.abs(Math.log(last.s_hat / last.target_s)) < Math.log(tolerance) ? "good" : "warn";
  // The target is always in sight; so is a bound that lambda is near.
  const sRange = (u, lo, hi) => {
    if (lo == null) return [c.target_s / 4, c.target_s * 4];
    return [Math.min(lo, c.target_s / tolerance) / 1.15, Math.max(hi, c.target_s * tolerance) * 1.15];
  };
  const lRange = (u, lo, hi) => {
    if (lo == null) return [c.lambda_init / 10, c.lambda_init * 10];
    let a = lo / 1.6, b = hi * 1.6;
    if (c.lambda_min >= a / 10) a = Math.min(a, c.lambda_min / 1.6);
    if (c.lambda_max <= b * 10) b = Math.max(b, c.lambda_max * 1.6);
    return [a, b];
  };
  const words = inWords(last, job);
  return html`<${Card} cls="hero" title="Controller" id="controller" aside=${html`<span class="muted">law <b class="mono">${c.law}</b> · Kp ${figure(c.Kp)} · Ki ${figure(c.Ki)}</span>`}>
    <p class=${"words " + state} role="status" aria-live="off"><i aria-hidden="true"></i>${words}</p>
    <div class="loop">
      <dl class="readout">
        <div class="s"><dt>S, smoothed</dt><dd>${last ? figure(last.s_hat, 3) : "–"}</dd></div>
        <div class="t"><dt>Target</dt><dd>${figure(c.target_s, 3)}</dd></div>
        <div><dt>Error, ln(S / target)</dt><dd>${last ? figure(Math.log(last.s_hat / last.target_s), 3) : "–"}</dd></div>
        <div class=${"l" + (state === "bad" ? " bad" : "")}><dt>λ</dt><dd>${last ? figure(last.lambda_next, 4) : "–"}</dd></div>
        <div><dt>Bounds of λ</dt><dd>${figure(c.lambda_min, 2)} … ${figure(c.lambda_max, 2)}</dd></div>
        ${atBound > 0 && html`<div class="bad"><dt>Steps at a bound</dt><dd>${integer(atBound)}</dd></div>`}
      </dl>
      <div class="pair">
        <h3><i class="key s" aria-hidden="true"></i>S, the adapter's share of the information <span class="muted">and its target, ± a factor of ${tolerance}</span></h3>
        <${Chart} label="S over the steps" summary=${words} data=${data.s} sync="job" height=${230} scale=${{ log: true, range: sRange }}
          series=${[{ label: "S", color: "--s-faint", width: 1 }, { label: "S, smoothed", color: "--s", width: 2 }]}
          under=${(u, css) => band(u, c.target_s / tolerance, c.target_s * tolerance, css("--band"))}
          over=${(u, css) => rule(u, c.target_s, css("--target"), "target " + figure(c.target_s, 3))} />
        <h3><i class="key l" aria-hidden="true"></i>λ, how hard the weights are pressed <span class="muted">red where it rests at a bound</span></h3>
        <${Chart} label="Lambda over the steps" data=${data.lambda} sync="job" height=${170} scale=${{ log: true, range: lRange }}
          series=${[{ label: "λ", color: "--lambda", width: 2 }, { label: "at its bound", color: "--bad", width: 4, gaps: true }]}
          over=${(u, css) => { rule(u, c.lambda_max, css("--bad"), "upper bound " + figure(c.lambda_max, 3), [2, 3]); rule(u, c.lambda_min, css("--bad"), "lower bound " + figure(c.lambda_min, 3), [2, 3]); }} />
      </div>
    </div></>`;
}
