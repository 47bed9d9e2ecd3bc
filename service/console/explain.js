// One pair in full: terms, modality amounts, the history behind it, and how far such explanations hold.

import { api, known } from "./api.js";
import { bar, chart, mix, palettes, scaled, terms } from "./bars.js";
import { image, title } from "./cards.js";
import { address, called, el, facts, number, percent, signed, table } from "./dom.js";

const WHOLE = [[{ amount: 1 }]];

export async function explain(values) {
  const [found, { manifest }] = await Promise.all([pair(Object.fromEntries(values)), api.snapshot()]);
  const past = found.user === null ? [] : (await known(api.user(found.user), { history: [] })).history;
  const { term, modality } = palettes(manifest);
  const parts = terms(found.experts, term);
  return {
    title: `Why ${called(found.item, found.title)}?`,
    nodes: [
      el("div", { class: "subject" }, subject(found), summary(found, parts)),
      el("h2", {}, "What each expert contributed"),
      chart(parts, "Terms of the score"),
      experts(found.experts, term, modality),
      el("h2", {}, "What each modality contributed"),
      chart(mix(found.modality_amounts, modality), "Amounts by modality"),
      ...history(found.because, past),
      el("h2", {}, "How far such explanations hold"),
      el("div", { class: "panel" }, ...faithfulness(found.faithfulness)),
    ],
  };
}

/** The very values of the answer while it is kept, the pair computed anew afterwards. */
async function pair({ recommendation_id, ...computed }) {
  const { item, user } = computed;
  if (!recommendation_id) return api.explain(computed);
  try {
    return await api.explain({ recommendation_id, item });
  } catch (error) {
    if (error.status !== 410 || !user) throw error;
    return api.explain(computed);
  }
}

function subject(found) {
  const frame = image(found);
  frame.setAttribute("aria-hidden", "false");
  return el("a", { class: "heading", href: address("similar", { item: found.item }), "aria-label": `What is like ${called(found.item, found.title)}` }, frame);
}

function summary(found, parts) {
  const origin = found.recommendation_id ? "as it was recommended" : "computed now, without steering";
  const asker = found.user === null ? "a session" : el("a", { href: address("user", { user: found.user }) }, called(found.user));
  const strongest = [...parts].sort((a, b) => Math.abs(b.amount) - Math.abs(a.amount)).slice(0, 2);
  const lead = strongest.map(({ name, amount }) => `${signed(amount)} from ${name}`).join(", ");
  return el(
    "div",
    {},
    el("p", { class: "score" }, found.score.toFixed(3)),
    el("p", {}, "for ", asker, ` · ${found.strategy} · ${origin}`),
    parts.length > 1 ? el("p", {}, `Strongest terms: ${lead}.`) : null,
    found.inferred?.length ? el("p", {}, `Inferred from similar items: ${found.inferred.join(", ")}.`) : null,
  );
}

function experts(entries, term, modality) {
  const rows = entries.map((entry) => [
    el("span", { class: "line" }, el("span", { class: `swatch ${term(entry.name)}` }), entry.name),
    entry.role,
    bar(mix(entry.modalities, modality), `Modalities of ${entry.name}`),
    entry.weight,
    signed(entry.contribution),
  ]);
  const drawn = table("Terms of the score", ["expert", "role", "looks at", "router's weight", "contribution"], rows);
  return scaled(drawn, WHOLE);
}

function history(because, past) {
  const head = el("h2", {}, "The history behind it");
  if (because === null) {
    const gone = "It can no longer be computed: the snapshot that gave this answer, or the item, is not there any more. The score is as it was.";
    return [head, el("p", { class: "notice" }, gone)];
  }
  if (!because.length) return [head, el("p", { class: "notice" }, "No history stands behind this score.")];
  const known = new Map(past.map((item) => [item.item, item]));
  const part = (entry) => [{ name: "amount", amount: entry.amount, colour: "colour-1" }];
  const rows = because.map((entry) => [
    el("a", { class: "line", href: address("similar", { item: entry.item }) }, image(known.get(entry.item) ?? entry), title(entry)),
    bar(part(entry), called(entry.item, entry.title)),
    signed(entry.amount),
    signed(entry.exact),
    signed(entry.attributed),
  ]);
  const drawn = table("Items of the history, strongest first", ["item", "compared", "amount", "exact", "attributed"], rows);
  // Whoever was answered may have taken more since, or been forgotten: only the length of today's history is known.
  const extent = past.length > because.length ? `The ${because.length} strongest of the ${number(past.length)} items that the history has now.` : `The ${because.length} strongest items.`;
  const note = "Exact is where the score is linear in the history; the rest is attributed. Steering is left out.";
  return [head, el("p", { class: "quiet" }, `${extent} ${note}`), scaled(drawn, because.map(part))];
}

/** What was measured about explanations: a sentence where the truth is known, and all of it on demand. */
export function faithfulness(measured) {
  const { recovery } = measured;
  const sentence = recovery
    ? `Planted truth: the largest amount names what drives a person's choices for ${percent(recovery.whole)} of ${number(recovery.users)} people (chance ${percent(recovery.chance)}).`
    : "Amounts add up to the score exactly. How far they agree with a model that has to do without a modality is measured at export, where the data allow it.";
  const all = Object.keys(measured).length ? el("details", {}, el("summary", {}, "All measurements"), facts(measured)) : null;
  return [el("p", {}, sentence), all].filter(Boolean);
}
