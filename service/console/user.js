// A user: the history, and the recommendations with what every expert contributed, re-ranked as one steers.

import { api } from "./api.js";
import { bar, legend, palette, reach, terms } from "./bars.js";
import { cards } from "./cards.js";
import { controls } from "./controls.js";
import { address, debounced, el, number } from "./dom.js";

export async function user(values) {
  const userId = values.get("user") ?? "";
  const [model, known, some] = await Promise.all([api.snapshot(), history(userId), api.items("", 100)]);
  const colour = palette(model.manifest.terms.map(({ name }) => name), "term");
  const categories = [...new Set([...known, ...some.items].flatMap((item) => item.categories))].sort();
  const status = el("p", { role: "status", class: "quiet" });
  const ranked = el("div", {});
  let asking = new AbortController();

  async function rank(wish) {
    asking.abort();
    asking = new AbortController();
    const { signal } = asking;
    const answer = await api.recommend(userId, wish, signal);
    if (signal.aborted) return;
    ranked.replaceChildren(...recommendations(userId, answer, colour));
    status.textContent = summary(answer);
  }

  const live = debounced((wish) => {
    window.history.replaceState(null, "", address("user", [["user", userId], ...wish]));
    rank(wish).catch((error) => {
      if (error.name !== "AbortError") status.textContent = error.message;
    });
  });
  const modalities = model.manifest.modalities.map(({ name }) => name);
  const steering = controls({ modalities, categories, values, changed: live });
  await rank(steering.wish());
  return { title: userId, nodes: [...past(known), steering.node, el("h2", {}, "Recommendations"), status, ranked] };
}

/** The history, most recent first; none for a user nobody knows, who gets popular items. */
async function history(userId) {
  try {
    return (await api.user(userId)).history;
  } catch (error) {
    if (error.status === 404) return [];
    throw error;
  }
}

function past(items) {
  const head = el("h2", {}, "History");
  if (!items.length) return [head, el("p", {}, "No history: whatever is popular is shown.")];
  return [head, cards(items, { label: "History, most recent first", small: true })];
}

function recommendations(userId, answer, colour) {
  if (!answer.items.length) return [el("p", {}, "No item is left to recommend.")];
  const lists = new Map(answer.items.map((item) => [item, terms(item.experts, colour)]));
  const scale = reach([...lists.values()]);
  const seen = new Map([...lists.values()].flat().map((part) => [part.name, part]));
  const why = (item) => ({ recommendation_id: answer.recommendation_id, item: item.item, user: userId });
  const more = (item) => [
    bar(lists.get(item), scale, `Score ${item.score.toFixed(3)}`),
    el(
      "span",
      { class: "foot" },
      el("span", {}, `${item.rank}. score ${item.score.toFixed(3)}`),
      el("a", { href: address("explain", why(item)), "aria-label": `Why ${item.title || item.item}?` }, "Why?"),
    ),
  ];
  return [legend([...seen.values()], "Experts"), cards(answer.items, { label: "Recommendations, best first", more })];
}

function summary(answer) {
  const parts = [`${number(answer.items.length)} items`, answer.strategy];
  if (answer.events_used) parts.push(`${number(answer.events_used)} newer events`);
  if (answer.shortfall) parts.push(answer.shortfall.because);
  if (answer.degraded.length) parts.push(`degraded: ${answer.degraded.join(", ")}`);
  return parts.join(" · ");
}
