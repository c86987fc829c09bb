import { html } from "./ui.js";
export function Compare() { return html`<h1>Compare</h1>`; }
