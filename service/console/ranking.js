// The recommendations of one user: cards with what every expert contributed, page by page, and how steering moved them.

import { api } from "./api.js";
import { bar, legend, scaled, terms } from "./bars.js";
import { card } from "./cards.js";
import { address, called, el, number } from "./dom.js";

const UNSTEERED_PLACES = 200;

export function ranking(userId, colour) {
  const status = el("p", { role: "status", class: "quiet" });
  const names = el("div", { class: "names" });
  const list = el("ul", { class: "cards", "aria-label": "Recommendations, best first" });
  const more = el("button", { type: "button", class: "plain", click: () => quietly(trouble, grow) }, "Show more");
  const trouble = el("p", { role: "status", class: "quiet" });
  let asking = new AbortController();
  const usual = new Map();
  let shown = { items: [], next: null, before: null, wish: [], strategy: null };

  /** Do `action(signal)` in place of what is still being asked, so that no two answers get into one list. */
  async function alone(action) {
    asking.abort();
    const mine = new AbortController();
    asking = mine;
    trouble.textContent = "";
    list.setAttribute("aria-busy", "true");
    more.disabled = true;
    try {
      await action(mine.signal);
    } finally {
      if (asking === mine) {
        list.removeAttribute("aria-busy");
        more.disabled = false;
      }
    }
  }

  /** Rank anew, as wished. */
  const rank = (wish) => alone(async (signal) => {
    const category = wish.filter(([name]) => name === "category");
    const steered = wish.length > category.length;
    const [answer, before] = await Promise.all([api.recommend(userId, wish, signal), steered ? places(category, signal) : null]);
    if (signal.aborted) return;
    shown = { items: [], next: null, before, wish, strategy: answer.strategy };
    list.replaceChildren();
    append(answer);
  });

  /** The next page, from the same snapshot and state; all of it anew where the user was forgotten meanwhile. */
  async function grow() {
    let first = list.children.length;
    const answered = alone(async (signal) => {
      const answer = await api.next(shown.next, signal);
      if (signal.aborted) return;
      if (answer.strategy === shown.strategy) {
        append(answer);
      } else {
        first = 0;
        await rank(shown.wish); // Scores of two strategies have no scale in common.
      }
    });
    await answered.finally(() => {
      if (document.activeElement === document.body) more.focus(); // Disabling the button took its focus.
    });
    list.children[first]?.querySelector("a").focus();
  }

  function append(answer) {
    shown.items.push(...answer.items);
    shown.next = answer.next;
    more.hidden = !answer.next;
    const lists = shown.items.map((item) => terms(item.experts, colour));
    const seen = new Map(lists.flat().map((part) => [part.name, part]));
    names.replaceChildren(...(seen.size ? [legend([...seen.values()], "Experts")] : []));
    list.append(...answer.items.map((item) => entry(item, answer.recommendation_id)));
    scaled(list, lists);
    status.textContent = shown.items.length ? summary(shown.items.length, answer) : "No item is left to recommend.";
  }

  function entry(item, recommendation) {
    const why = { recommendation_id: recommendation, item: item.item, user: userId };
    const below = () => [
      bar(terms(item.experts, colour), `Score ${item.score.toFixed(3)}`),
      el(
        "span",
        { class: "foot" },
        el("span", {}, item.score.toFixed(3)),
        shown.before ? moved(item) : null,
        el("a", { href: address("explain", why), "aria-label": `Why ${called(item.item, item.title)}?` }, "Why?"),
      ),
    ];
    return card(item, below, () => el("span", { class: "rank" }, number(item.rank)));
  }

  /** Where an item stood before anything was steered. */
  function moved(item) {
    const before = shown.before.get(item.item);
    if (before === item.rank || (before === undefined && item.rank > UNSTEERED_PLACES)) return null;
    const up = before === undefined || before > item.rank;
    const text = before === undefined ? "new" : `${up ? "↑" : "↓"} ${Math.abs(before - item.rank)}`;
    const said = before === undefined ? `not among the first ${UNSTEERED_PLACES} without steering` : `place ${before} without steering`;
    return el("span", { class: up ? "up" : "down", title: said }, text);
  }

  /** Where items stand within the category before anything is steered. */
  async function places(category, signal) {
    const within = String(category);
    if (!usual.has(within)) {
      const answer = await api.recommend(userId, [["k", UNSTEERED_PLACES], ["explain", "none"], ...category], signal);
      usual.set(within, new Map(answer.items.map((item) => [item.item, item.rank])));
    }
    return usual.get(within);
  }

  /** Do `action`, and say `where` it can be seen what went wrong. */
  async function quietly(where, action, ...values) {
    try {
      await action(...values);
    } catch (error) {
      if (error.name !== "AbortError") where.textContent = error.message;
    }
  }

  const node = el("section", { class: "ranking" }, el("h2", {}, "Recommendations"), status, names, list, more, trouble);
  return { node, rank, follow: (wish) => quietly(status, rank, wish) };
}

function summary(count, answer) {
  const parts = [`${number(count)} items`, answer.strategy];
  if (answer.strategy === "popular") parts.push("the sliders change nothing: no history to steer by");
  if (answer.events_used) parts.push(`${number(answer.events_used)} newer events`);
  if (answer.shortfall) parts.push(answer.shortfall.because);
  if (answer.degraded.length) parts.push(`degraded: ${answer.degraded.join(", ")}`);
  return parts.join(" · ");
}
