// The losses of training and validation.
import { Card, html, useMemo } from "./ui.js";
import { Chart, mark, rule } from "./charts.js";
import { loss } from "./format.js";

/** An exponential average, so that a trend shows under the noise of single steps. */
export function smooth(values, weight = 0.9) {
  let mean = 0, norm = 0;
  return values.map((v) => {
    if (v == null) return null;
    mean = weight * mean + (1 - weight) * v;
    norm = weight * norm + (1 - weight);
    return mean / norm;
  });
}

export function Losses({ job, rows }) {
  const data = useMemo(() => {
    const ce = rows.map((r) => r.ce);
    return [rows.map((r) => r.step), ce, smooth(ce), rows.map((r) => (r.val_loss == null ? null : r.val_loss))];
  }, [rows]);
  const a = job.adapter && job.adapter.metrics;
  const before = a && a.val_loss_before;
  const range = (u, lo, hi) => {
    if (lo == null) return [0, 1];
    const pad = 0.06 * (hi - lo || 1);
    return [lo - pad, hi + pad];
  };
  const best = rows.reduce((b, r) => (r.val_loss != null && (b == null || r.val_loss < b.val_loss) ? r : b), null);
  return html`<${Card} title="Loss" id="losses" aside=${html`<span class="muted">nats per token</span>`}>
    <h3><i class="key train" aria-hidden="true"></i>Training <i class="key val" aria-hidden="true"></i>Validation ${best && html`<span class="muted">best ${loss(best.val_loss)} at step ${best.step}</span>`}</h3>
    <${Chart} label="Loss over the steps" summary=${best ? `best validation loss ${loss(best.val_loss)} at step ${best.step}` : ""} data=${data} sync="job" height=${230} scale=${{ range }}
      series=${[{ label: "training", color: "--train-faint", width: 1 }, { label: "training, smoothed", color: "--train", width: 2 }, { label: "validation", color: "--val", width: 2, points: true }]}
      over=${(u, css) => { if (before != null) rule(u, before, css("--val"), "base, untrained " + loss(before), [3, 4]); if (a && a.kept_step !== a.steps) mark(u, a.kept_step, css("--muted"), "weights kept"); }} /></>`;
}
