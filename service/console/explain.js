// One pair in full: terms, modality amounts, the history behind it, and how far such explanations hold.

import { api } from "./api.js";
import { bar, legend, mix, palette, reach, terms } from "./bars.js";
import { heading } from "./cards.js";
import { address, el, facts, signed, table } from "./dom.js";

export async function explain(values) {
  const [found, model] = await Promise.all([pair(Object.fromEntries(values)), api.snapshot()]);
  const colour = palette(model.manifest.terms.map(({ name }) => name), "term");
  const modality = palette(model.manifest.modalities.map(({ name }) => name), "modality");
  return {
    title: `Why ${found.title || found.item}?`,
    nodes: [
      el("div", { class: "subject" }, heading(found), summary(found)),
      ...chart("What each expert contributed", found, terms(found.experts, colour)),
      experts(found.experts),
      ...chart("What each modality contributed", found, mix(found.modality_amounts, modality)),
      history(found.because),
      el("h2", {}, "How far such explanations hold"),
      facts(found.faithfulness),
    ],
  };
}

/** The very values of the answer while it is kept, the pair computed anew afterwards. */
async function pair({ recommendation_id, item, user }) {
  if (!recommendation_id) return api.explain({ item, user });
  try {
    return await api.explain({ recommendation_id, item });
  } catch (error) {
    if (error.status !== 410 || !user) throw error;
    return api.explain({ item, user });
  }
}

function summary(found) {
  const origin = found.recommendation_id ? "as it was recommended" : "computed now, without steering";
  const asker = found.user === null ? "a session" : el("a", { href: address("user", { user: found.user }) }, found.user);
  const inferred = found.inferred?.length ? el("p", {}, `Inferred from similar items: ${found.inferred.join(", ")}.`) : null;
  const line = el("p", {}, `Score ${found.score.toFixed(3)} for `, asker, `, ${found.strategy}, ${origin}.`);
  return el("div", {}, line, inferred);
}

function chart(name, found, parts) {
  const label = `Score ${found.score.toFixed(3)}`;
  return [el("h2", {}, name), el("div", { class: "tall" }, bar(parts, reach([parts]), label)), legend(parts.map(amount), name)];
}

function amount(part) {
  return { ...part, name: `${part.name} ${signed(part.amount)}` };
}

function experts(entries) {
  const modalities = [...new Set(entries.flatMap((entry) => Object.keys(entry.modalities)))];
  const rows = entries.map((entry) => [
    entry.name,
    entry.role,
    entry.weight,
    signed(entry.contribution),
    ...modalities.map((name) => entry.modalities[name] ?? null),
  ]);
  const head = ["expert", "role", "router's weight", "contribution", ...modalities.map((name) => `share of ${name}`)];
  return table("Terms of the score", head, rows);
}

function history(because) {
  if (!because.length) return el("p", {}, "No history stands behind this score.");
  const rows = because.map((entry) => [
    el("a", { href: address("similar", { item: entry.item }) }, entry.title || entry.item),
    signed(entry.amount),
    signed(entry.exact),
    signed(entry.attributed),
  ]);
  return el(
    "section",
    {},
    el("h2", {}, "The history behind it"),
    el("p", { class: "quiet" }, "Exact is where the score is linear in the history; the rest is attributed. Steering is left out."),
    table("Items of the history, strongest first", ["item", "amount", "exact", "attributed"], rows),
  );
}
