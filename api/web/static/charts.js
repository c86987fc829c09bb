// Charts by uPlot: curves over steps, their cursors tied together.
import { html, useEffect, useLayoutEffect, useRef } from "./ui.js";
import { figure } from "./format.js";

const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** Redraws when the colours of the system change. */
const dark = window.matchMedia("(prefers-color-scheme: dark)");

const steps = [1, 2, 5].flatMap((n) => [1, 10, 100, 1000, 1e4, 1e5, 1e6].map((e) => n * e)).sort((a, b) => a - b);

function axis(extra) {
  return {
    stroke: () => css("--muted"), font: "11px system-ui, sans-serif", size: 26,
    grid: { stroke: () => css("--grid"), width: 1 }, ticks: { show: false }, ...extra,
  };
}

/**
 * One chart. data: [steps, ...values]; series: [{label, color (a CSS variable), width, dash, points, digits, gaps (are left open)}];
 * scale: {log, range(u, min, max)}; under(u): draws below the curves. The legend has the values at the cursor, and the last ones while it is elsewhere.
 */
export function Chart({ label, data, series, height = 220, scale = {}, sync, under, over, summary }) {
  const box = useRef(null), plot = useRef(null), props = useRef({});
  props.current = { under, over, data };
  const shape = series.map((s) => s.label).join("|") + height + !!scale.log;
  useLayoutEffect(() => {
    const began = performance.now();
    const make = () => {
      if (plot.current) plot.current.destroy();
      plot.current = new uPlot({
        width: box.current.clientWidth || 600, height,
        padding: [8, 20, 0, 0],
        cursor: { sync: sync ? { key: sync } : undefined, points: { size: 6 }, drag: { x: true, y: false } },
        legend: { live: true, markers: { width: 0, fill: (u, i) => css(series[i - 1].color), } },
        scales: { x: { time: false }, y: { distr: scale.log ? 3 : 1, log: 10, range: scale.range } },
        axes: [axis({ incrs: steps, space: 70 }), axis({ size: 58, values: (u, ticks) => ticks.map((t) => (t == null ? "" : figure(t, 3))) })],
        series: [{ label: "step" }, ...series.map((s) => ({
          label: s.label, stroke: () => css(s.color), width: s.width || 1.5, dash: s.dash, spanGaps: !s.gaps,
          points: { show: !!s.points, size: 6, fill: () => css(s.color), stroke: () => css("--surface") },
          value: (u, v) => figure(v, s.digits || 4),
        }))],
        hooks: {
          setLegend: [(u) => { if (u.cursor.idx == null && u.data[0].length) u.setLegend({ idxs: u.data.map((values, i) => (i > 0 && series[i - 1].gaps ? values.length - 1 : lastOf(values))) }, false); }],
          drawClear: [(u) => props.current.under && props.current.under(u, css)],
          draw: [(u) => {
            if (props.current.over) props.current.over(u, css);
            box.current.dataset.drawn ||= String(performance.now() - began); // ms until it stood there first
          }],
        },
      }, props.current.data, box.current);
      for (const t of box.current.querySelectorAll("canvas")) t.setAttribute("aria-hidden", "true");
    };
    make();
    const size = new ResizeObserver(() => {
      const width = box.current.clientWidth;
      if (plot.current && width && width !== plot.current.width) plot.current.setSize({ width, height });
    });
    size.observe(box.current);
    dark.addEventListener("change", make);
    return () => { size.disconnect(); dark.removeEventListener("change", make); plot.current.destroy(); plot.current = null; };
  }, [shape]);
  useEffect(() => {
    if (!plot.current) return;
    if (plot.current.data !== data) plot.current.setData(data);
    box.current.dataset.points = String(data[0].length);
  }, [data, shape]);
  return html`<figure class="chart" role="img" aria-label=${label + (summary ? ". " + summary : "")}><div ref=${box}></div></figure>`;
}

/** The place of the last value that is there; null if there is none. */
function lastOf(values) {
  let i = values.length - 1;
  while (i >= 0 && values[i] == null) i--;
  return i < 0 ? null : i;
}

/** A curve the size of a word. */
export function Spark({ values, color, label, width = 120, height = 28 }) {
  const v = values.filter((x) => x != null);
  if (v.length < 2) return html`<svg class="spark" width=${width} height=${height} aria-hidden="true"></svg>`;
  const lo = Math.min(...v), hi = Math.max(...v), d = hi - lo || 1;
  const points = v.map((x, i) => `${(i / (v.length - 1)) * (width - 4) + 2},${height - 3 - ((x - lo) / d) * (height - 6)}`).join(" ");
  return html`<svg class="spark" width=${width} height=${height} viewBox=${`0 0 ${width} ${height}`} role="img" aria-label=${label}>
    <polyline points=${points} fill="none" stroke=${`var(${color})`} stroke-width="1.5" stroke-linejoin="round" stroke-linecap="round" /></svg>`;
}

/** Draws a horizontal line with its name, in a chart's under or over. */
export function rule(u, y, color, text, dash = [4, 4]) {
  const { ctx, bbox } = u, at = u.valToPos(y, "y", true), px = uPlot.pxRatio;
  if (!Number.isFinite(at) || at < bbox.top - 1 || at > bbox.top + bbox.height + 1) return;
  ctx.save();
  ctx.strokeStyle = color; ctx.fillStyle = color; ctx.lineWidth = px; ctx.setLineDash(dash.map((d) => d * px));
  ctx.beginPath(); ctx.moveTo(bbox.left, at); ctx.lineTo(bbox.left + bbox.width, at); ctx.stroke();
  ctx.font = `${11 * px}px system-ui, sans-serif`; ctx.textAlign = "right";
  const above = at - bbox.top > 16 * px;
  const where = [bbox.left + bbox.width - 4 * px, at + (above ? -6 : 14) * px];
  ctx.setLineDash([]); ctx.strokeStyle = css("--surface"); ctx.lineWidth = 4 * px; ctx.lineJoin = "round";
  ctx.strokeText(text, ...where); // the curves stay behind it
  ctx.fillText(text, ...where);
  ctx.restore();
}

/** Draws a vertical line with its name at a step, in a chart's over. */
export function mark(u, step, color, text) {
  const { ctx, bbox } = u, at = u.valToPos(step, "x", true), px = uPlot.pxRatio;
  if (!Number.isFinite(at) || at < bbox.left || at > bbox.left + bbox.width) return;
  const left = at > bbox.left + bbox.width / 2;
  ctx.save();
  ctx.strokeStyle = color; ctx.fillStyle = color; ctx.lineWidth = px; ctx.setLineDash([2 * px, 3 * px]);
  ctx.beginPath(); ctx.moveTo(at, bbox.top); ctx.lineTo(at, bbox.top + bbox.height); ctx.stroke();
  ctx.font = `${11 * px}px system-ui, sans-serif`; ctx.textAlign = left ? "right" : "left";
  ctx.fillText(text, at + (left ? -5 : 5) * px, bbox.top + bbox.height - 6 * px);
  ctx.restore();
}

/** Fills between two values, in a chart's under. */
export function band(u, low, high, color) {
  const { ctx, bbox } = u;
  const clamp = (v) => Math.max(bbox.top, Math.min(bbox.top + bbox.height, u.valToPos(v, "y", true)));
  const a = clamp(high), b = clamp(low);
  ctx.save();
  ctx.fillStyle = color; ctx.fillRect(bbox.left, a, bbox.width, b - a);
  ctx.restore();
}
