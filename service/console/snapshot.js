// The snapshot that is served: metrics, versions, candidates, and the way back to the one before.

import { api } from "./api.js";
import { el, facts, isObject, table } from "./dom.js";

const DETAILED = ["metrics", "modalities", "terms", "candidates", "explanation", "routing", "training", "routed_variance_share"];

export async function snapshot() {
  const { manifest, ...served } = await api.snapshot();
  const repeated = new Set([...Object.keys(served), ...DETAILED]);
  const versions = Object.fromEntries(Object.entries(manifest).filter(([name]) => !repeated.has(name)));
  return {
    title: "Snapshot",
    nodes: [
      facts(served),
      el("h2", {}, "Metrics"),
      metrics(manifest.metrics),
      el("h2", {}, "Candidates"),
      facts(manifest.candidates),
      el("h2", {}, "Versions and constants"),
      facts(versions),
      el("details", {}, el("summary", {}, "Training"), facts(manifest.training)),
      el("h2", {}, "Roll back"),
      rollback(),
    ],
  };
}

function metrics(measured) {
  const groups = Object.keys(measured).filter((name) => isObject(measured[name]));
  const names = [...new Set(groups.flatMap((group) => Object.keys(measured[group])))];
  const rows = names.map((name) => [name, ...groups.map((group) => measured[group][name] ?? null)]);
  return rows.length ? table("Measured at export", ["metric", ...groups], rows) : facts(measured);
}

/** The form that serves the snapshot before; the admin key is sent once and kept nowhere. */
function rollback() {
  const field = el("input", { id: "admin-key", type: "password", autocomplete: "off", required: true });
  const status = el("p", { role: "status" });
  const button = el("button", {}, "Serve the snapshot before");
  const submit = async (event) => {
    event.preventDefault();
    const secret = field.value.trim();
    field.value = "";
    button.disabled = true;
    status.textContent = "Rolling back …";
    try {
      const done = await api.rollback(secret);
      status.textContent = `Now serving ${done.snapshot}; before it was ${done.previous ?? "nothing"}. Reload to see it.`;
    } catch (error) {
      status.textContent = error.message;
    } finally {
      button.disabled = false;
    }
  };
  return el("form", { submit }, el("label", { for: "admin-key" }, "Admin key"), field, button, status);
}
