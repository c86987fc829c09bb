// What every screen is made of. No text becomes HTML: htm makes elements, and texts stay texts.
import { h, render } from "preact";
import { useCallback, useEffect, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import htm from "htm";

export const html = htm.bind(h);
export { render, useCallback, useEffect, useLayoutEffect, useMemo, useRef, useState };

export const statuses = ["scheduled", "queued", "running", "paused", "completed", "failed", "cancelled"];
/** Reports whether a job in this state goes no further. */
export const ended = (status) => ["completed", "failed", "cancelled"].includes(status);

/** A job's state as a coloured word. */
export function Pill({ status, stopping }) {
  return html`<span class=${"pill " + status}><i aria-hidden="true"></i>${stopping && status === "running" ? "stopping" : status}</span>`;
}

export function Bar({ percent, label, status }) {
  const p = Math.max(0, Math.min(100, percent || 0));
  return html`<div class=${"bar " + (status || "")} role="progressbar" aria-label=${label} aria-valuemin="0" aria-valuemax="100" aria-valuenow=${Math.round(p)}>
    <div style=${{ width: p + "%" }}></div></div>`;
}

/** What went wrong, and what to do. error has message and hint, as the API's have. */
export function Problem({ error, retry }) {
  if (!error) return null;
  return html`<div class="note bad" role="alert">
    <strong>${error.field ? error.field + ": " : ""}${error.message}</strong>
    ${error.hint && html`<span>${error.hint}</span>`}
    ${retry && html`<button class="small" onClick=${retry}>Try again</button>`}
  </div>`;
}

export function Card({ title, aside, children, id, cls }) {
  return html`<section class=${"card " + (cls || "")} aria-labelledby=${id}>
    ${title && html`<header><h2 id=${id}>${title}</h2>${aside && html`<div class="aside">${aside}</div>`}</header>`}
    ${children}</section>`;
}

/** A figure with its name. */
export function Stat({ name, value, unit, hint, tone }) {
  return html`<div class=${"stat " + (tone || "")}><dt>${name}</dt><dd><b>${value}</b>${unit && html`<span class="unit">${unit}</span>`}${hint && html`<small>${hint}</small>`}</dd></div>`;
}

/** A button that copies a text. */
export function Copy({ text, what }) {
  const [done, setDone] = useState(false);
  useEffect(() => {
    if (!done) return undefined;
    const t = setTimeout(() => setDone(false), 1500);
    return () => clearTimeout(t);
  }, [done]);
  return html`<button class="small" aria-label=${"Copy " + what} onClick=${() => navigator.clipboard.writeText(text).then(() => setDone(true), () => {})}>${done ? "Copied" : "Copy"}</button>`;
}

/** Tabs by the arrow keys, as a screen reader expects them. tabs: [[id, name, content]]. */
export function Tabs({ label, tabs }) {
  const [at, setAt] = useState(0);
  const list = useRef(null);
  const move = (e) => {
    const d = { ArrowRight: 1, ArrowLeft: -1 }[e.key];
    if (!d) return;
    e.preventDefault();
    const next = (at + d + tabs.length) % tabs.length;
    setAt(next);
    list.current.children[next].focus();
  };
  return html`<div class="tabs"><div role="tablist" aria-label=${label} ref=${list} onKeyDown=${move}>
    ${tabs.map(([id, name], i) => html`<button role="tab" id=${"tab-" + id} key=${id} aria-selected=${String(i === at)} aria-controls=${"panel-" + id} tabindex=${i === at ? 0 : -1} onClick=${() => setAt(i)}>${name}</button>`)}
    </div><div role="tabpanel" id=${"panel-" + tabs[at][0]} aria-labelledby=${"tab-" + tabs[at][0]}>${tabs[at][2]}</div></div>`;
}

/** A command or a program, to copy. */
export function Code({ text, what }) {
  return html`<div class="code"><pre tabindex="0" aria-label=${what}>${text}</pre><${Copy} text=${text} what=${what} /></div>`;
}

/** Asks before what can't be undone; resolves to yes or no. */
export function confirmed(question) {
  return window.confirm(question);
}

/** A screen whose subject isn't there yet, or can't be shown; back is the list that it would be in: [address, name]. */
export function Absent({ title, back, error }) {
  if (!error) return html`<div class="wait" aria-busy="true"></div>`;
  return html`<div class="screen"><div class="headline"><div><a class="back" href=${back[0]}>${back[1]}</a><h1>${title}</h1></div></div><${Problem} error=${error} /></div>`;
}

/** Says that what is shown may be old. */
export function Lost({ link, error }) {
  if (link === "lost") return html`<div class="note warn" role="status"><strong>Connection lost.</strong><span>Trying again; what is shown is as it was.</span></div>`;
  return html`<${Problem} error=${error} />`;
}
