// The snapshots in the store, and serving another one with the admin key.

import { api } from "./api.js";
import { el, moment, table } from "./dom.js";

/** `said` is what came of the last choice, `again(said)` shows the page as it is after another one. */
export function versions(snapshots, served, { said, again }) {
  const field = el("input", { id: "admin-key", type: "password", autocomplete: "off", required: true });
  const status = el("p", { role: "status", tabindex: "-1" }, said);

  /** Do what needs the admin key, which is sent once and kept nowhere. */
  async function administer(call) {
    if (!field.reportValidity()) return;
    const secret = field.value.trim();
    field.value = "";
    status.textContent = "Loading and warming up …";
    try {
      const done = await call(secret);
      await again(`Now serving ${done.snapshot}; before it was ${done.previous ?? "nothing"}.`);
    } catch (error) {
      status.textContent = error.message;
    }
  }
  const serve = ({ snapshot, problem }) => {
    if (snapshot === served) return el("span", { class: "chip" }, "served");
    if (problem) return el("span", { title: problem }, "damaged");
    const name = `Serve ${snapshot}`;
    return el("button", { type: "button", class: "plain", "aria-label": name, click: () => administer((secret) => api.activate(secret, snapshot)) }, "Serve");
  };
  const rows = snapshots.map((entry) => [
    el("code", {}, entry.snapshot.slice(0, 12)),
    entry.model ?? null,
    entry.dataset ?? null,
    entry.created_at ? moment(entry.created_at) : null,
    entry.recall ?? null,
    serve(entry),
  ]);
  const submit = (event) => {
    event.preventDefault();
    administer(api.rollback);
  };
  const node = el(
    "div",
    {},
    table("Snapshots in the store, newest first", ["snapshot", "model", "data", "exported", "Recall@20", "serving"], rows),
    el("form", { class: "inline", submit }, el("label", { for: "admin-key" }, "Admin key"), field, el("button", {}, "Roll back")),
    el("p", { class: "quiet" }, "The key is sent once and kept nowhere. Rolling back serves the snapshot that was current before."),
    status,
  );
  return { node, focus: said ? status : null };
}
