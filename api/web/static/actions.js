// What can be done to a job, wherever it is shown.
import { confirmed, ended, html, useState } from "./ui.js";
import { del, mayChange, post, save } from "./api.js";

/** The buttons that a job's state allows; fewer if compact, the fewest in a "row". done is called after each; failed gets a refusal. */
export function Actions({ job, done, failed, compact }) {
  const [busy, setBusy] = useState("");
  const name = job.name || job.job_id;
  const act = (what, question, call) => async () => {
    if (question && !confirmed(question)) return;
    setBusy(what);
    try { await call(); done && done(what); } catch (e) { failed && failed(e); }
    setBusy("");
  };
  const button = (what, text, question, call, cls) => mayChange() && html`<button class=${(cls || "") + " small"} disabled=${busy === what} aria-label=${`${text}: ${name}`} onClick=${act(what, question, call)}>${text}</button>`;
  const path = "/jobs/" + job.job_id;
  return html`<div class="actions">
    ${job.status === "running" && !job.stopping && button("stop", "Stop and keep", "", () => post(path + "/stop"))}
    ${(job.status === "queued" || job.status === "running" && compact !== "row") && !job.stopping && button("pause", "Pause", "", () => post(path + "/pause"))}
    ${["paused", "scheduled"].includes(job.status) && button("resume", job.status === "paused" ? "Resume" : "Start now", "", () => post(path + "/resume"))}
    ${["failed", "cancelled"].includes(job.status) && button("retry", "Retry", "", () => post(path + "/retry"))}
    ${!ended(job.status) && button("cancel", "Cancel", `Cancel ${name}? What it has learned is dropped; "Stop and keep" wouldn't.`, () => post(path + "/cancel"))}
    ${job.status === "completed" && html`<a class="button small" download href=${path + "/adapter"} aria-label=${"Download the adapter of " + name}>Download</a>`}
    ${job.status === "completed" && !compact && html`<button class="small" disabled=${busy === "gguf"} title="One file, for llama.cpp's --lora" aria-label=${"Download as GGUF: " + name}
      onClick=${act("gguf", "", () => save(path + "/adapter.gguf", job.job_id + "_adapter.gguf"))}>${busy === "gguf" ? "Writing…" : "GGUF"}</button>`}
    ${(!compact || ended(job.status)) && mayChange() && html`<a class="button small" href=${"#/new?from=" + job.job_id} aria-label=${"Again with changes: " + name}>${compact ? "Again" : "Again with changes"}</a>`}
    ${!compact && ended(job.status) && button("delete", "Delete", `Delete ${name}, with its metrics, adapter and checkpoints? This can't be undone.`, () => del(path), "danger")}
  </div>`;
}
