// Numbers and times for people.

const count = new Intl.NumberFormat("en");

export const integer = (n) => (n == null ? "–" : count.format(n));

/** significant digits without a needless exponent. */
export function figure(x, digits = 4) {
  if (x == null || !Number.isFinite(x)) return "–";
  if (x === 0) return "0";
  const a = Math.abs(x);
  if (a >= 1e6 || a < 1e-4) return x.toExponential(Math.max(0, digits - 2)).replace("e+", "e");
  return String(Number(x.toPrecision(digits)));
}

/** of a fixed width, for tables. */
export const loss = (x) => (x == null ? "–" : x.toFixed(3));

export function bytes(n) {
  if (n == null) return "–";
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let i = 0;
  while (n >= 1024 && i < units.length - 1) { n /= 1024; i++; }
  return (i === 0 || n >= 100 ? Math.round(n) : n.toFixed(1)) + " " + units[i];
}

export function duration(seconds) {
  if (seconds == null || !Number.isFinite(seconds)) return "–";
  const s = Math.max(0, seconds);
  if (s < 10) return s.toFixed(1) + " s";
  if (s < 60) return Math.round(s) + " s";
  if (s < 3600) return Math.floor(s / 60) + " min " + String(Math.floor(s % 60)).padStart(2, "0") + " s";
  if (s < 86400) return Math.floor(s / 3600) + " h " + String(Math.floor((s % 3600) / 60)).padStart(2, "0") + " min";
  return Math.floor(s / 86400) + " d " + Math.floor((s % 86400) / 3600) + " h";
}

export const seconds = (from, to) => (new Date(to) - new Date(from)) / 1000;

/** How many seconds a job has worked, waits and pauses aside; null if it never ran. Jobs of older versions tell only when they began and ended. */
export function worked(job, now = Date.now()) {
  if (job.running_since) return (job.ran_seconds || 0) + Math.max(0, now - new Date(job.running_since)) / 1000;
  return job.ran_seconds || (job.started_at && job.completed_at ? seconds(job.started_at, job.completed_at) : null);
}

export function age(time, now = Date.now()) {
  const s = (now - new Date(time)) / 1000;
  if (s < 5) return "just now";
  if (s < 60) return Math.floor(s) + " s ago";
  if (s < 3600) return Math.floor(s / 60) + " min ago";
  if (s < 86400) return Math.floor(s / 3600) + " h ago";
  return Math.floor(s / 86400) + " d ago";
}

export const clock = (time) => new Date(time).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit" });
export const moment = (time) => new Date(time).toLocaleString([], { dateStyle: "medium", timeStyle: "short" });

/** A name for a job: what a person gave it, or its id. */
export const title = (job) => job.name || job.job_id;

/** A job's training data by name; of several sources each, with its share. */
export function dataName(job) {
  const sources = job.sources || [];
  if (sources.length === 0) return (job.train_data || {}).name || job.config.train_data_path;
  return sources.map((s) => (s.file.name || s.path) + (s.share ? " ×" + s.share : "")).join(", ");
}

/** A model's name: of a folder, its last part. */
export const model = (name) => (name.startsWith("/") ? name.slice(name.lastIndexOf("/") + 1) : name);

/** snake_case as words. */
export const spoken = (name) => (name || "").replaceAll("_", " ");
