// Several settings at once: a grid of fields, each setting with several seeds, as one comparison.
import { Card, Problem, html, useState } from "./ui.js";
import { post } from "./api.js";
import { integer } from "./format.js";
import { parsed } from "./settings.js";

const firstSeed = 42; // as scu compare counts them

/** The values of a line such as "0.004, 0.01"; of a list with brackets, each of its lists. */
const valuesOf = (text, old) => text.split(/,(?![^[]*\])/).map((t) => t.trim()).filter(Boolean).map((t) => parsed(t, old));

/** request is the job that the page would train; ready tells that the server takes it. */
export function Sweep({ request, ready, defs, fields }) {
  const [axes, setAxes] = useState([{ field: "control.target_s", text: "0.004, 0.01, 0.05" }]);
  const [seeds, setSeeds] = useState("3");
  const [error, setError] = useState(null);
  const [busy, setBusy] = useState(false);
  const change = (i, patch) => setAxes((all) => all.map((a, k) => (k === i ? { ...a, ...patch } : a)));
  const named = axes.map((a) => ({ field: a.field.trim(), values: valuesOf(a.text, (defs[a.field.trim()] || {}).value) })).filter((a) => a.field);
  const settings = named.reduce((n, a) => n * a.values.length, named.length && 1);
  const count = /^\d+$/.test(seeds.trim()) ? Number(seeds) : 0;
  const compare = async (e) => {
    e.preventDefault();
    setBusy(true);
    setError(null);
    try {
      const made = await post("/comparisons", { ...request, space: Object.fromEntries(named.map((a) => [a.field, { values: a.values }])), seeds: Array.from({ length: count }, (_, i) => firstSeed + i) });
      location.hash = "#/comparisons/" + made.comparison_id;
    } catch (refusal) { setError(refusal); setBusy(false); }
  };
  return html`<${Card} title="Or compare settings" id="sweep"><form onSubmit=${compare}>
    <p class="muted">Each value with each of the others, on the same data, for as many tokens. The best one's settings come out as a file.</p>
    ${axes.map((a, i) => html`<div class="axis" key=${i}>
      <label>Setting<input list="fields" name=${"axis" + i} value=${a.field} onInput=${(e) => change(i, { field: e.target.value })} /></label>
      <label>Values<input name=${"values" + i} value=${a.text} onInput=${(e) => change(i, { text: e.target.value })} /></label>
      ${axes.length > 1 && html`<button type="button" class="small" aria-label=${"Leave out " + (a.field || "this setting")} onClick=${() => setAxes((all) => all.filter((_, k) => k !== i))}>×</button>`}</div>`)}
    <datalist id="fields">${fields.map((k) => html`<option key=${k} value=${k}></option>`)}</datalist>
    <div class="axis seeds"><label>Seeds<input name="seeds" inputmode="numeric" value=${seeds} onInput=${(e) => setSeeds(e.target.value)} /></label>
      <button type="button" class="link" onClick=${() => setAxes((all) => [...all, { field: "", text: "" }])}>Another setting</button></div>
    <${Problem} error=${error} />
    <div class="go"><button disabled=${busy || !ready || !(settings * count > 0)}>Compare</button>
      <span class="muted" role="status">${settings * count > 0 ? `${integer(settings)} ${settings === 1 ? "setting" : "settings"} × ${integer(count)} ${count === 1 ? "seed" : "seeds"}: ${integer(settings * count)} jobs` : "Name a setting, its values and how many seeds."}</span></div>
  </form></>`;
}
