// A user: the history, what carries the scores, and the recommendations, re-ranked as one steers.

import { api, known } from "./api.js";
import { bar, legend, mix, palettes, scaled } from "./bars.js";
import { cards } from "./cards.js";
import { controls } from "./controls.js";
import { address, called, debounced, el, percent } from "./dom.js";
import { ranking } from "./ranking.js";

export async function user(values) {
  let here = location.hash;
  const userId = values.get("user") ?? "";
  const [{ manifest }, { history }, some, profile] = await Promise.all([
    api.snapshot(),
    known(api.user(userId), { history: [] }),
    api.items("", 100),
    known(api.profile(userId), null),
  ]);
  const colours = palettes(manifest);
  const linked = values.get("category") || [];
  const categories = [...new Set([...history, ...some.items].flatMap((item) => item.categories).concat(linked))].sort();
  const ranked = ranking(userId, colours.term);
  const live = debounced((wish) => {
    if (location.hash !== here) return; // The user has been left since the move, and the address belongs to another view.
    window.history.replaceState(null, "", address("user", [["user", userId], ...wish]));
    here = location.hash;
    ranked.follow(wish);
  });
  const modalities = manifest.modalities.map(({ name }) => name);
  const steering = controls({ modalities, categories, values, changed: live });
  await ranked.rank(steering.wish());
  const beside = el("div", { class: "beside" }, steering.node, ...carried(profile, colours.modality));
  return { title: called(userId), nodes: [...past(history), el("div", { class: "split" }, beside, ranked.node)] };
}

function past(items) {
  const head = el("h2", {}, "History");
  if (!items.length) return [head, el("p", { class: "notice" }, "Nothing is known of this user yet: what is popular is shown.")];
  return [head, cards(items, { label: "History, most recent first", small: true })];
}

/** What carries the scores of the user's best items, by modality. */
function carried(profile, colour) {
  const parts = mix(profile?.modality_shares ?? {}, colour).filter(({ amount }) => amount > 0);
  if (!parts.length) return [];
  const named = parts.map((part) => ({ ...part, note: percent(part.amount) }));
  const drawn = scaled(el("div", {}, bar(parts, "Shares of the score")), [parts]);
  return [el("section", { class: "panel carried" }, el("h2", {}, "What carries the scores"), drawn, legend(named, "Modalities"))];
}
