// A job's settings as a difference from the defaults, which the OpenAPI document has.
import { Card, html, useEffect, useState } from "./ui.js";
import { get } from "./api.js";

let document_ = null;
/** The defaults, {path: {value, text}}. */
export function defaults() {
  document_ ||= get("/openapi.json").then((doc) => {
    const out = {};
    const walk = (schema, prefix) => {
      for (const [name, p] of Object.entries(schema.properties || {})) {
        if (p.properties) walk(p, prefix + name + ".");
        else out[prefix + name] = { value: p.default, text: p.description || "" };
      }
    };
    walk(doc.components.schemas.JobConfig, "");
    return out;
  }).catch((e) => { document_ = null; throw e; });
  return document_;
}

/** Those fields that are no settings of the training. */
const aside = ["base_model", "base_revision", "train_data_path", "val_data_path", "from_adapter_file"];

export function flat(config, prefix = "", out = {}) {
  for (const [k, v] of Object.entries(config || {})) {
    if (!prefix && aside.includes(k)) continue;
    if (v && typeof v === "object" && !Array.isArray(v) && !k.endsWith("_pattern")) flat(v, prefix + k + ".", out);
    else out[prefix + k] = v;
  }
  return out;
}

/** What a person typed, as a setting's value; old is the default. */
export function parsed(text, old) {
  const t = text.trim();
  if (t === "" || t === "none") return typeof old === "string" ? "" : null;
  if (typeof old === "string") return t;
  try { return JSON.parse(t); } catch { return t; }
}

export const same = (a, b) => JSON.stringify(a ?? null) === JSON.stringify(b ?? null);
export const shown = (v) => (v === undefined || v === null ? "none" : typeof v === "object" ? JSON.stringify(v) : v === "" ? "none" : String(v));

/** The settings that differ: {path: value}. */
export function changed(config, defs) {
  return Object.fromEntries(Object.entries(flat(config)).filter(([k, v]) => !defs[k] || !same(v, defs[k].value === "" ? null : defs[k].value) && !(v === "" && !defs[k].value)));
}

/** {a: {b: 1}} of {"a.b": 1}, as config_overrides take them. */
export function nested(paths) {
  const out = {};
  for (const [path, v] of Object.entries(paths)) {
    const parts = path.split(".");
    let at = out;
    for (const p of parts.slice(0, -1)) at = at[p] ||= {};
    at[parts[parts.length - 1]] = v;
  }
  return out;
}

export function useDefaults() {
  const [d, setD] = useState(null);
  useEffect(() => { let on = true; defaults().then((x) => on && setD(x), () => {}); return () => { on = false; }; }, []);
  return d;
}

export function Settings({ job }) {
  const defs = useDefaults();
  const [all, setAll] = useState(false);
  if (!defs) return html`<${Card} title="Settings" id="settings" />`;
  const diff = changed(job.config, defs);
  const list = all ? flat(job.config) : diff;
  return html`<${Card} title="Settings" id="settings" aside=${html`<button class="link" aria-pressed=${String(all)} onClick=${() => setAll(!all)}>${all ? "Only what differs" : "Show all"}</button>`}>
    ${Object.keys(list).length === 0 ? html`<p class="muted">All as the defaults have it.</p>` : html`
    <table class="small settings"><thead><tr><th>Setting</th><th>This job</th><th>Default</th></tr></thead><tbody>
    ${Object.entries(list).map(([k, v]) => html`<tr key=${k} class=${k in diff ? "diff" : ""}><td class="mono" title=${defs[k] ? defs[k].text : ""}>${k}</td><td class="mono"><b>${shown(v)}</b></td><td class="mono muted">${defs[k] ? shown(defs[k].value) : "–"}</td></tr>`)}
    </tbody></table>`}</>`;
}
