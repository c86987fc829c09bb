import { html } from "./ui.js";
export function NewJob() { return html`<h1>New job</h1>`; }
