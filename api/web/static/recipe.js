// The request that makes a job, as curl, scu and Python.
import { Card, Code, Tabs, html } from "./ui.js";
import { changed, nested, useDefaults } from "./settings.js";

const quoted = (s) => (/^[\w./:@=+-]+$/.test(s) ? s : "'" + s.replaceAll("'", "'\\''") + "'");
const python = (v) => JSON.stringify(v, null, 4).replace(/\b(true|false|null)\b(?=[,\n\]}]|$)/g, (w) => ({ true: "True", false: "False", null: "None" })[w]);

/** The commands of a request: {curl, scu, python}. */
export function commands(request, origin, key) {
  const { base_model, train_data_path, train_data, val_data_path, name, config_overrides, from_adapter, priority, recommend } = request;
  const auth = key ? ' -H "Authorization: Bearer $SCU_API_KEY"' : "";
  const data = train_data ? train_data.map((d) => d.path + (d.share ? "=" + d.share : "")) : [train_data_path || "FILE"];
  const flags = ["--base-model " + quoted(base_model), ...data.map((d) => "--train-data " + quoted(d))];
  if (val_data_path) flags.push("--val-data " + quoted(val_data_path));
  if (name) flags.push("--name " + quoted(name));
  if (from_adapter) flags.push("--from-adapter " + quoted(from_adapter));
  if (priority) flags.push("--priority " + priority);
  if (recommend) flags.push("--recommend");
  const walk = (o, p) => Object.entries(o || {}).forEach(([k, v]) => (v && typeof v === "object" && !Array.isArray(v) ? walk(v, p + k + ".") : flags.push("--set " + quoted(p + k + "=" + (typeof v === "string" ? v : JSON.stringify(v))))));
  walk(config_overrides, "");
  return {
    curl: `curl ${origin}/jobs/submit${auth} -H 'Content-Type: application/json' -d ${quoted(JSON.stringify(request, null, 2))}`,
    scu: `scu train --api-url ${origin} \\\n  ` + flags.join(" \\\n  "),
    python: `import ${key ? "os, " : ""}requests\n\njob = requests.post("${origin}/jobs/submit",${key ? '\n    headers={"Authorization": "Bearer " + os.environ["SCU_API_KEY"]},' : ""}\n    json=${python(request)})\njob.raise_for_status()\nprint(job.json()["job_id"])`,
  };
}

export function Commands({ request }) {
  const c = commands(request, location.origin, false);
  return html`<${Tabs} label="The same as" tabs=${[["curl", "curl", html`<${Code} text=${c.curl} what="the curl command" />`], ["scu", "scu", html`<${Code} text=${c.scu} what="the scu command" />`], ["python", "Python", html`<${Code} text=${c.python} what="the Python program" />`]]} />`;
}

/** The request that makes a job again. */
export function requestOf(job, defs) {
  const r = { base_model: job.base_model };
  if ((job.sources || []).length) r.train_data = job.sources.map((s) => ({ path: s.id || s.file?.id || s.path, ...(s.share ? { share: s.share } : {}) }));
  else r.train_data_path = job.train_data.id;
  if (job.val_data) r.val_data_path = job.val_data.id;
  if (job.name) r.name = job.name;
  if (job.priority) r.priority = job.priority;
  const overrides = changed(job.config, defs);
  if (overrides.from_adapter) r.from_adapter = overrides.from_adapter;
  delete overrides.from_adapter;
  if (Object.keys(overrides).length) r.config_overrides = nested(overrides);
  return r;
}

export function Recipe({ job }) {
  const defs = useDefaults();
  return html`<${Card} title="Made by" id="recipe">${defs && html`<${Commands} request=${requestOf(job, defs)} />`}</>`;
}
