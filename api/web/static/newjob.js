// From a file to a job: what is in it, which model, which settings and why, what it will take.
import { Card, Problem, html, useEffect, useRef, useState } from "./ui.js";
import { get, post, upload } from "./api.js";
import { Commands, requestOf } from "./recipe.js";
import { changed, nested, parsed, same, shown, useDefaults } from "./settings.js";
import { Sweep } from "./sweep.js";
import { bytes, duration, figure, integer, spoken, title } from "./format.js";

/** The four settings that most jobs want to change. */
const main = [
  ["epochs", "Epochs", "passes over the data"],
  ["control.target_s", "Target S", "the adapter's share of the information"],
  ["lora.r", "Rank", "of the adapter's matrices"],
  ["learning_rate", "Learning rate", "AdamW's peak"],
];
/** What changes how the data is read. */
const reading = ["block_size", "train_on", "packing", "text_documents"];

const numbered = (n, name) => html`<span class="n" aria-hidden="true">${n}</span>${name}`;

/** Asks again a moment after the last change, and drops answers that come too late. */
function useAnswer(ask, keys, subject) {
  const [v, setV] = useState({ busy: false, answer: null, error: null });
  useEffect(() => {
    const abort = new AbortController();
    const call = ask(abort.signal);
    if (!call) { setV({ busy: false, answer: null, error: null }); return undefined; }
    setV((o) => (o.subject === subject ? { ...o, busy: true } : { busy: true, answer: null, error: null, subject }));
    const timer = setTimeout(() => call().then(
      (answer) => setV({ busy: false, answer, error: null, subject }),
      (error) => error.name !== "AbortError" && setV({ busy: false, answer: null, error, subject })), 250);
    return () => { clearTimeout(timer); abort.abort(); };
  }, keys);
  return v;
}

export function NewJob({ from }) {
  const defs = useDefaults();
  const [data, setData] = useState(null); // {path, name, size}
  const [uploading, setUploading] = useState("");
  const [model, setModel] = useState("bookworm-2m");
  const [name, setName] = useState("");
  const [typed, setTyped] = useState({}); // settings, as they were typed: an answer that comes meanwhile changes none
  const [modelText, setModelText] = useState(model);
  const [models, setModels] = useState(["bookworm-2m"]);
  useEffect(() => { get("/v1/models").then((l) => setModels(l.data.map((m) => m.id).filter((id) => !id.startsWith("ft:"))), () => {}); }, []); // what can't be listed can be typed
  const [base, setBase] = useState(null); // the settings of an earlier job, instead of a recommendation
  const [extra, setExtra] = useState({}); // what else that job was asked for
  const [error, setError] = useState(null);
  const [busy, setBusy] = useState(false);

  const take = async (file) => {
    if (!file) return;
    setError(null);
    setUploading(file.name);
    try {
      const f = await upload(file);
      setData({ path: f.id, name: f.name, size: f.size });
    } catch (e) { setError(e); }
    setUploading("");
  };
  useEffect(() => { if (window.droppedFile) { const f = window.droppedFile; window.droppedFile = null; take(f); } }, []);
  useEffect(() => {
    if (!from || !defs) return;
    get("/jobs/" + from).then((job) => {
      const { train_data_path, base_model, name: n, config_overrides, ...rest } = requestOf(job, defs);
      setModel(base_model);
      setModelText(base_model);
      setName(n ? n + ", again" : "");
      setBase({ title: title(job), settings: changed(job.config, defs) });
      setExtra(rest);
      if (train_data_path) setData({ path: train_data_path, name: job.train_data.name, size: job.train_data.size });
      else setData({ sources: true, name: rest.train_data.length + " sources" });
    }, setError);
  }, [from, defs]);

  const edits = Object.fromEntries(Object.entries(typed).map(([k, t]) => [k, parsed(t, defs && defs[k] ? defs[k].value : null)]));
  const ready = data && model.trim();
  const where = data && data.path ? { train_data_path: data.path } : {};
  // The data is looked at first; settings that fit it come next, and may change how it is read.
  const [suggestion, setSuggestion] = useState(null);
  const suggested = base ? base.settings : suggestion || {};
  const settings = { ...suggested, ...edits };
  delete settings.from_adapter;
  const config = nested(settings);
  const request = { base_model: model.trim(), ...where, ...(name ? { name } : {}), ...extra, ...(Object.keys(settings).length ? { config_overrides: config } : {}) };
  const text = JSON.stringify(request);
  const readBy = JSON.stringify(reading.map((k) => settings[k]));
  const check = useAnswer((signal) => ready && data.path && (() => post("/data/check", {
    base_model: model.trim(), ...where, preview: 2,
    config_overrides: nested(Object.fromEntries(reading.filter((k) => k in settings).map((k) => [k, settings[k]]))),
  }, signal)), [data, model, readBy], data);
  const fine = check.answer && !check.answer.error || data && data.sources;
  const rec = useAnswer((signal) => ready && fine && !from && (() => post("/recommend", { base_model: model.trim(), ...where }, signal)), [data, model, from, fine && 1], data);
  useEffect(() => { setSuggestion(rec.answer ? Object.fromEntries(rec.answer.choices.map((c) => [c.field, c.value])) : null); }, [rec.answer]);
  const settled = ready && fine && (base || suggestion || rec.error);
  const verdict = useAnswer((signal) => settled && fine && (async () => {
    const v = await post("/jobs/validate", request, signal);
    if (!v.valid) return { v };
    const { priority, name: _, from_adapter, ...rest } = request;
    return { v, e: await post("/estimate", rest, signal) };
  }), [text, settled && 1, fine && 1], data);
  const said = verdict.answer && verdict.answer.v;
  const wrong = (field) => said && said.errors.find((e) => e.field === field);
  const train = async () => {
    setBusy(true);
    try {
      const job = await post("/jobs/submit", request);
      location.hash = "#/jobs/" + job.job_id;
    } catch (e) { setError(e); setBusy(false); }
  };
  const edit = (k) => (e) => setTyped((o) => ({ ...o, [k]: e.target.value }));
  const value = (k) => k in typed ? typed[k] : shown(k in settings ? settings[k] : defs && defs[k] ? defs[k].value : "");
  const field = ([k, label, hint]) => html`<label key=${k}>${label}<input value=${value(k)} onInput=${edit(k)} name=${k} inputmode="decimal" aria-invalid=${String(!!wrong(k))} /><small>${wrong(k) ? wrong(k).message : hint}</small></label>`;
  const others = defs ? Object.keys(defs).filter((k) => !main.some((m) => m[0] === k) && !["base_model", "train_data_path", "val_data_path", "from_adapter", "from_adapter_file", "base_revision"].includes(k)) : [];
  return html`<div class="screen">
    <div class="headline"><h1>${base ? "Again: " + base.title : "New job"}</h1></div>
    <${Problem} error=${error} />
    <div class="steps"><div>
      <${Card} title=${numbered(1, "Data")} id="data" aside=${data && html`<button class="link" onClick=${() => { setData(null); setExtra(({ train_data, ...rest }) => rest); }}>Another file</button>`}>
        ${data ? html`<p><b>${data.name}</b> <span class="muted">${data.size != null ? bytes(data.size) : ""}</span></p>` : html`<${Drop} take=${take} uploading=${uploading} set=${setData} />`}
        <${Report} check=${check} />
      </>
      ${check.answer && check.answer.preview && html`<${Preview} blocks=${check.answer.preview} settings=${settings} forms=${check.answer.report.forms} edit=${(v) => setTyped((o) => ({ ...o, train_on: v }))} />`}
      <${Card} title=${numbered(2, "Model")} id="model">
        <div class="fields"><label>Base model<input list="models" name="base_model" value=${modelText} onInput=${(e) => setModelText(e.target.value)} onChange=${(e) => setModel(e.target.value)} /><small>bookworm-2m is built in; a folder of the server, or owner/name of the Hugging Face Hub</small></label>
        <label>Name of the job<input name="name" value=${name} maxlength="200" placeholder="optional" onInput=${(e) => setName(e.target.value)} /><small>for people</small></label></div>
        <datalist id="models">${models.map((m) => html`<option key=${m} value=${m}></option>`)}</datalist>
        ${rec.error && html`<${Problem} error=${rec.error} />`}
      </>
      ${rec.answer && html`<${Card} title="Recommended, and why" id="why"><dl class="reasons">${rec.answer.choices.map((c) => html`<div key=${c.field}><dt>${c.field}</dt><dd><b>${shown(c.value)}</b>${c.field in edits && !same(edits[c.field], c.value) && html` <span class="tag warn">now ${shown(edits[c.field])}</span>`}</dd><dd class="muted">${c.reason}</dd></div>`)}</dl></>`}
    </div><div>
      <${Card} title=${numbered(3, "Settings")} id="choices" aside=${rec.busy && html`<span class="muted">choosing…</span>`}>
        ${defs && html`<div class="fields">${main.map(field)}</div>`}
        ${defs && html`<details><summary>All settings</summary><div class="fields">${others.map((k) => html`<label key=${k} title=${defs[k].text}><span class="mono">${k}</span><input value=${value(k)} onInput=${edit(k)} name=${k} aria-invalid=${String(!!wrong(k))} />${wrong(k) && html`<small>${wrong(k).message}</small>`}</label>`)}</div></details>`}
      </>
      <${Card} title=${numbered(4, "Train")} id="train" aside=${verdict.busy && html`<span class="muted">estimating…</span>`}>
        <${Verdict} verdict=${verdict} waits=${!data ? "Choose a file first." : check.answer && check.answer.error ? "The data has to be mended first." : "Looking at the data…"} />
        <div class="go"><button class="primary" disabled=${busy || !said || !said.valid || verdict.busy} onClick=${train}>Train</button>
          ${said && said.valid && !verdict.busy && html`<span class="muted">nothing is kept until then</span>`}</div>
      </>
      ${data && defs && html`<${Sweep} request=${request} ready=${said && said.valid && !verdict.busy} defs=${defs} fields=${[...main.map((m) => m[0]), ...others]} />`}
      ${data && html`<${Card} title="The same as a command" id="commands"><${Commands} request=${request} /></>`}
    </div></div></div>`;
}

function Drop({ take, uploading, set }) {
  const [over, setOver] = useState(false);
  const path = useRef(null);
  return html`<label class=${"drop" + (over ? " over" : "")} onDragOver=${(e) => { e.preventDefault(); setOver(true); }} onDragLeave=${() => setOver(false)} onDrop=${(e) => { e.preventDefault(); setOver(false); take(e.dataTransfer.files[0]); }}>
      <strong>${uploading ? `Uploading ${uploading}…` : "Drop a file here, or choose one"}</strong>
      <span class="muted">.txt, .jsonl, .csv or .parquet: plain text, or rows of text, prompt and completion, or messages</span>
      <input class="unseen" type="file" aria-label="A file of training data" disabled=${!!uploading} onChange=${(e) => take(e.target.files[0])} /></label>
    <form class="ask" onSubmit=${(e) => { e.preventDefault(); if (path.current.value.trim()) set({ path: path.current.value.trim(), name: path.current.value.trim() }); }}>
      <input ref=${path} name="path" aria-label="Or a path, an address or an uploaded file's id" placeholder="or a path on the server, an https address, hf://datasets/…" /><button>Use</button></form>`;
}

/** The data report: counts, then what is wrong, by line. */
function Report({ check }) {
  if (check.error) return html`<${Problem} error=${check.error} />`;
  const c = check.answer;
  if (!c) return check.busy ? html`<p class="muted" role="status">Reading…</p>` : null;
  const r = c.report;
  const byLine = (findings) => findings.flatMap((f) => f.lines.map((l) => ({ ...l, kind: f.kind }))).sort((a, b) => a.line - b.line);
  const refused = byLine(r.refused || []), odd = byLine(r.suspicious || []);
  const total = (r.refused || []).reduce((n, f) => n + f.total, 0), totalOdd = (r.suspicious || []).reduce((n, f) => n + f.total, 0);
  return html`<div class="report">
    <dl class="stats"><div class="stat"><dt>Format</dt><dd><b>${r.format}</b></dd></div>
      ${r.rows > 0 && html`<div class="stat"><dt>Rows</dt><dd><b>${integer(r.rows)}</b></dd></div>`}
      <div class="stat"><dt>Tokens</dt><dd><b>${integer(r.tokens)}</b>${r.targets > 0 && r.targets < r.tokens - r.documents - r.blocks && html`<small>${integer(r.targets)} count in the loss</small>`}</dd></div>
      <div class="stat"><dt>Blocks</dt><dd><b>${integer(r.blocks)}</b><small>of ${integer(c.block_size)}</small></dd></div></dl>
    ${(r.notes || []).map((n) => html`<p key=${n} class="muted">${n}</p>`)}
    ${total > 0 && html`<div class="note bad" role="alert"><strong>${integer(total)} of ${integer(r.rows)} rows can't be used.</strong><span>${c.error && c.error.hint}</span></div>
      <ol class="lines" aria-label="Refused lines">${refused.map((l, i) => html`<li key=${i}><span class="mono">line ${l.line}</span><span>${l.message}</span></li>`)}</ol>`}
    ${total === 0 && c.error && html`<${Problem} error=${c.error} />`}
    ${totalOdd > 0 && html`<details><summary>${integer(totalOdd)} odd ${totalOdd === 1 ? "line" : "lines"}, which are used</summary><ol class="lines">${odd.map((l, i) => html`<li key=${i}><span class="mono">line ${l.line}</span><span>${l.message}</span></li>`)}</ol></details>`}
  </div>`;
}

/** The first blocks as tokens; those that count in the loss are marked. */
function Preview({ blocks, settings, forms, edit }) {
  const choice = forms && (forms.messages || forms["prompt+completion"] || forms.alpaca || forms.sharegpt);
  const tokens = blocks.flat(), counting = tokens.filter((t) => t.counts).length;
  return html`<${Card} title="What the model will read" id="preview" aside=${choice && html`<label class="inline">Learn from <select name="train_on" value=${settings.train_on || "all"} onChange=${(e) => edit(e.target.value)}><option value="all">all tokens</option><option value="completion">the answers</option><option value="last">the last answer</option></select></label>`}>
    <p class="muted">The first ${blocks.length === 1 ? "block" : blocks.length + " blocks"}: ${integer(tokens.length)} tokens, <span class="mark">${integer(counting)} of them count in the loss</span>.</p>
    <div class="tokens" tabindex="0" aria-label="Token preview">${blocks.map((b, i) => b.slice(0, 400).map((t, k) => html`<span key=${i + "." + k} class=${(t.counts ? "counts" : "") + (t.begins ? " begins" : "")} title=${"token " + t.id + (t.counts ? ", counts" : ", doesn't count")}>${t.text.replaceAll("\n", "↵\n")}</span>`))}</div></>`;
}

function Verdict({ verdict, waits }) {
  if (verdict.error) return html`<${Problem} error=${verdict.error} />`;
  if (!verdict.answer) return html`<p class="muted" role="status">${waits || "…"}</p>`;
  const { v, e } = verdict.answer;
  return html`<div class="verdict">
    ${e && html`<dl class="stats"><div class="stat lead"><dt>Time</dt><dd><b>about ${duration(e.seconds)}</b><small>${integer(e.steps)} steps</small></dd></div>
      <div class="stat"><dt>Memory</dt><dd><b>${bytes(e.memory.peak)}</b><small>of ${bytes(e.memory.available)}</small></dd></div>
      <div class="stat"><dt>Adapter</dt><dd><b>${integer(e.trainable_parameters)}</b><small>weights, ${figure((100 * e.trainable_parameters) / e.parameters, 2)} % of the model's</small></dd></div></dl>`}
    ${v.errors.map((x, i) => html`<${Problem} key=${i} error=${{ ...x, hint: x.suggestion }} />`)}
    ${v.warnings.map((x, i) => html`<div key=${"w" + i} class="note warn"><span>${x.message}</span>${x.suggestion && html`<span>${x.suggestion}</span>`}</div>`)}
    ${v.suggestions.map((x, i) => html`<div key=${"s" + i} class="note"><span>${x.message}</span>${x.suggestion && html`<span class="muted">${x.suggestion}</span>`}</div>`)}
  </div>`;
}
