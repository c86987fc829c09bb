// The key, asked once: the server gives a cookie for it that scripts can't read.
import { Problem, html, useEffect, useRef, useState } from "./ui.js";
import { post } from "./api.js";

export function SignIn({ done }) {
  const [error, setError] = useState(null);
  const field = useRef(null);
  useEffect(() => { field.current.focus(); }, []);
  const enter = async (e) => {
    e.preventDefault();
    try {
      await post("/session", { key: field.current.value });
      done();
    } catch (refusal) {
      setError(refusal);
      field.current.select();
    }
  };
  return html`<main class="signin"><form class="card" onSubmit=${enter}>
    <img src="/assets/icon.svg" alt="" width="40" height="40" />
    <h1>Sign in to scu</h1>
    <p class="muted">This server asks for an API key. Your browser keeps a session of it that scripts can't read.</p>
    <label>API key<input type="password" ref=${field} autocomplete="current-password" required /></label>
    <${Problem} error=${error} />
    <button class="primary">Sign in</button>
  </form></main>`;
}
