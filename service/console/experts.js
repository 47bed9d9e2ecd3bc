// The experts: roles, modality weights, measured use, and how far explanations were measured to hold.

import { api } from "./api.js";
import { bar, legend, mix, palette } from "./bars.js";
import { el, facts, isObject, shown, table, words } from "./dom.js";

const WHOLE = { negative: 0, positive: 1 };

export async function experts() {
  const [found, model] = await Promise.all([api.experts(), api.snapshot()]);
  const modalities = model.manifest.modalities.map(({ name }) => name);
  const colour = palette(modalities, "modality");
  const names = new Set(found.experts.map(({ name }) => name));
  const perExpert = ([, value]) => isObject(value) && Object.keys(value).every((name) => names.has(name));
  const measured = Object.entries(found.routing).filter(perExpert);
  const others = Object.fromEntries(Object.entries(found.routing).filter((entry) => !perExpert(entry)));
  const rows = found.experts.map((expert) => [
    expert.name,
    expert.role,
    bar(mix(expert.modalities, colour), WHOLE, "Modality weights"),
    ...measured.map(([, values]) => values[expert.name] ?? null),
  ]);
  const head = ["expert", "role", "modalities", ...measured.map(([name]) => words(name))];
  return {
    title: "Experts",
    nodes: [
      el("p", {}, sentence(found)),
      legend(modalities.map((name) => ({ name, colour: colour(name) })), "Modalities"),
      table("Experts and their measured use", head, rows),
      el("h2", {}, "Routing"),
      facts(others),
      el("h2", {}, "Faithfulness of explanations"),
      facts(model.manifest.explanation),
    ],
  };
}

function sentence(found) {
  const chosen = found.top_k === null ? "Every term counts for every pair" : `${found.top_k} experts count for one pair`;
  const share = found.routed_variance_share;
  const carried = share === null ? "" : ` Routed experts carry ${shown(100 * share)} % of the score's variance.`;
  return `Model ${found.model}. ${chosen}.${carried}`;
}
