// The snapshot that is served: metrics, curves, where to read more, what else the store holds, and the way back.

import { api } from "./api.js";
import { palettes } from "./bars.js";
import { curves } from "./curves.js";
import { el, facts, isObject, moment, number, table, tiles } from "./dom.js";
import { versions } from "./versions.js";

const DETAILED = ["metrics", "modalities", "terms", "candidates", "explanation", "routing", "training", "routed_variance_share", "created_at"];

export async function snapshot(values, { said, again }) {
  const [{ manifest, documents, ...served }, { snapshots }] = await Promise.all([api.snapshot(), api.snapshots()]);
  const history = documents.includes("history") ? await (await api.document("history")).json() : {};
  const repeated = new Set([...Object.keys(served), ...DETAILED]);
  const constants = Object.fromEntries(Object.entries(manifest).filter(([name]) => !repeated.has(name)));
  const choice = versions(snapshots, served.snapshot, { said, again });
  return {
    title: `${served.model} on ${served.dataset}`,
    nodes: [
      el("p", { class: "quiet" }, `Snapshot ${served.snapshot}, exported `, moment(served.created_at), ", served since ", moment(served.loaded_at), "."),
      tiles(keyNumbers(served, manifest)),
      reading(documents),
      ...fitting(history, palettes(manifest).term),
      el("h2", {}, "Metrics"),
      metrics(manifest.metrics),
      el("h2", {}, "Snapshots in the store"),
      choice.node,
      el("h2", {}, "Versions and constants"),
      el("div", { class: "panel" }, facts({ index: served.index, ...constants })),
      el("details", { class: "panel" }, el("summary", {}, "Training configuration"), facts(manifest.training)),
    ],
    focus: choice.focus,
  };
}

function keyNumbers({ n_users, n_items }, { metrics: { test }, candidates, routed_variance_share }) {
  const digits = (value) => (value === undefined || value === null ? null : value.toFixed(4));
  return {
    "Recall@20, test": digits(test?.["recall@20"]),
    "NDCG@20, test": digits(test?.["ndcg@20"]),
    "Candidate recall@20": digits(candidates?.recall?.["recall@20"]),
    "Routed variance share": digits(routed_variance_share),
    Users: number(n_users),
    Items: number(n_items),
  };
}

/** Where to read more, as far as the snapshot came with it. */
function reading(documents) {
  const report = el("a", { class: "button", href: "/console/report.html" }, "Training report");
  const trouble = el("span", { role: "status", class: "quiet" });
  const save = async () => {
    trouble.textContent = "";
    await saveCard().catch((error) => { trouble.textContent = error.message; });
  };
  const card = el("button", { type: "button", class: "plain", click: save }, "Save the model card");
  const shown = [documents.includes("report") ? report : null, ...(documents.includes("model-card") ? [card, trouble] : [])];
  return el("p", { class: "actions" }, shown);
}

async function saveCard() {
  const source = URL.createObjectURL(await (await api.document("model-card")).blob());
  el("a", { href: source, download: "MODEL_CARD.md" }).click();
  URL.revokeObjectURL(source);
}

function fitting(history, colour) {
  const figures = Object.entries(history).flatMap(([phase, records]) => curves(phase, records, colour));
  return figures.length ? [el("h2", {}, "How it was fitted"), el("div", { class: "figures" }, figures)] : [];
}

function metrics(measured) {
  const groups = Object.keys(measured).filter((name) => isObject(measured[name]));
  const names = [...new Set(groups.flatMap((group) => Object.keys(measured[group])))];
  const rows = names.map((name) => [name, ...groups.map((group) => measured[group][name] ?? null)]);
  return rows.length ? table("Measured at export", ["metric", ...groups], rows) : el("div", { class: "panel" }, facts(measured));
}
