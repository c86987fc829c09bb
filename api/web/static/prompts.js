// A prompt continued by the base model and by the adapter, side by side.
import { Card, Problem, html, useEffect, useState } from "./ui.js";
import { post } from "./api.js";

/** How a job's own data begins: a prompt that shows what was learned. */
async function opening(job) {
  const c = job.config;
  const check = await post("/data/check", { base_model: job.base_model, train_data_path: job.train_data.id, preview: 1,
    config_overrides: { block_size: c.block_size, packing: c.packing, train_on: c.train_on, text_documents: c.text_documents } });
  const tokens = (check.preview || [[]])[0];
  const answer = tokens.findIndex((t) => t.counts);
  if (c.train_on !== "all" && answer > 0) return tokens.slice(0, answer).map((t) => t.text).join(""); // up to the first answer
  const text = tokens.slice(0, 60).map((t) => t.text).join("");
  return text.slice(0, 48).replace(/\s+\S*$/, "");
}

export function Prompts({ job }) {
  const [prompt, setPrompt] = useState("");
  const [v, set] = useState({ busy: false, texts: [], error: null });
  useEffect(() => { opening(job).then((text) => setPrompt((p) => p || text), () => {}); }, [job.job_id]);
  const ask = async (e) => {
    e.preventDefault();
    const asked = prompt;
    set((o) => ({ ...o, busy: true, error: null }));
    try {
      const [before, after] = await Promise.all([job.base_model, job.job_id].map((model) =>
        post("/v1/completions", { model, prompt: asked, max_tokens: 64, temperature: 0.7, seed: 42 })));
      set((o) => ({ busy: false, error: null, texts: [{ n: o.texts.length, prompt: asked, before: before.choices[0].text, after: after.choices[0].text }, ...o.texts].slice(0, 5) }));
    } catch (error) { set((o) => ({ ...o, busy: false, error })); }
  };
  return html`<${Card} title="Before and after" id="prompts" aside=${html`<span class="muted">one prompt, one seed, both models</span>`}>
    <form class="ask" onSubmit=${ask}><textarea name="prompt" rows="3" aria-label="Prompt" value=${prompt} onInput=${(e) => setPrompt(e.target.value)} placeholder="How a text begins"></textarea>
      <button class="primary" disabled=${v.busy || !prompt.trim()}>${v.busy ? "Writing…" : "Continue"}</button></form>
    <${Problem} error=${v.error} />
    <div class="texts" role="status" aria-live="polite">${v.texts.map((t) => html`<div class="sides" key=${t.n}>
      <div class="before"><h4>Base model</h4><p><b>${t.prompt}</b>${t.before}</p></div><div class="after"><h4>With the adapter</h4><p><b>${t.prompt}</b>${t.after}</p></div></div>`)}</div></>`;
}
