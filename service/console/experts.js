// The experts: roles, modality weights, measured use, and how far explanations were measured to hold.

import { api } from "./api.js";
import { bar, chart, legend, mix, palettes, scaled } from "./bars.js";
import { el, isObject, percent, table, words } from "./dom.js";
import { faithfulness } from "./explain.js";

const ROLES = {
  base: "always counts, for every pair",
  dominant: "led by one kind of evidence",
  balanced: "join two kinds",
  complementary: "see what the other kinds leave unexplained",
  modality: "one kind of evidence each",
};

export async function experts() {
  const [found, { manifest }] = await Promise.all([api.experts(), api.snapshot()]);
  const { term, modality } = palettes(manifest);
  const names = new Set(found.experts.map(({ name }) => name));
  const perExpert = ([, value]) => isObject(value) && Object.keys(value).every((name) => names.has(name));
  const measured = Object.entries(found.routing).filter(perExpert);
  const rows = found.experts.map((expert) => [
    el("span", { class: "line" }, el("span", { class: `swatch ${term(expert.name)}` }), expert.name),
    expert.role,
    bar(mix(expert.modalities, modality), `Modalities of ${expert.name}`),
    ...measured.map(([, values]) => amount(values[expert.name], Math.max(...Object.values(values)), term(expert.name))),
  ]);
  const head = ["expert", "role", "looks at", ...measured.map(([name]) => words(name))];
  const whole = [[{ amount: 1 }]];
  const carried = found.routing.share_of_score_by_modality;
  return {
    title: "Experts",
    nodes: [
      el("p", { class: "lead" }, sentence(found)),
      roles(found.experts),
      legend(manifest.modalities.map(({ name }) => ({ name, colour: modality(name) })), "Modalities"),
      scaled(table("Experts and their measured use", head, rows), whole),
      ...(carried ? [el("h2", {}, "What carries the served scores"), chart(mix(carried, modality), "Share of the score by modality", percent)] : []),
      el("h2", {}, "How far explanations hold"),
      el("div", { class: "panel" }, ...faithfulness(manifest.explanation)),
    ],
  };
}

function sentence(found) {
  const chosen = found.top_k === null ? "Every term counts for every pair" : `The router keeps ${found.top_k} experts for each pair of user and item`;
  const share = found.routed_variance_share;
  const carried = share === null ? "" : ` They carry ${percent(share)} of the variance of the score among a user's candidates.`;
  return `${chosen}.${carried}`;
}

function roles(all) {
  const present = [...new Set(all.map(({ role }) => role))].filter((role) => ROLES[role]);
  const lines = present.flatMap((role) => [el("dt", {}, role), el("dd", {}, ROLES[role])]);
  return el("dl", { class: "facts" }, lines);
}

/** A share with a small bar, to be compared down the column. */
function amount(value, largest, colour) {
  if (value === undefined || value === null) return null;
  const drawn = el("span", { class: `meter ${colour}`, "aria-hidden": "true" });
  drawn.style.setProperty("--amount", value / (largest || 1));
  return el("span", { class: "measured" }, drawn, percent(value));
}
