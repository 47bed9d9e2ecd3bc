// Where one begins: find a user or an item.

import { api, known } from "./api.js";
import { cards, image } from "./cards.js";
import { address, called, debounced, el } from "./dom.js";

const PICTURES = 4;

export async function find() {
  const users = await search("Users", "Beginning of a user id", 8, people, async (query, limit, signal) =>
    (await api.users(query, limit, signal)).users,
  );
  const items = await search("Items", "Part of a title or id", 12, catalogue, async (query, limit, signal) =>
    (await api.items(query, limit, signal)).items,
  );
  const lead = "Pick somebody to see what they are shown, and how much of every score each expert brought to it.";
  return { title: "Whose recommendations?", nodes: [el("p", { class: "lead" }, lead), users, items] };
}

function catalogue(found) {
  return [cards(found, { label: "Items found", small: true })];
}

/** Users as tiles; newcomers are in no list before the next snapshot, so any id can be opened. */
function people(found, query, signal) {
  const list = el("ul", { class: "people", "aria-label": "Users found" }, found.map((user) => person(user, signal)));
  if (!query.trim() || found.includes(query)) return [list];
  return [list, el("p", {}, el("a", { href: address("user", { user: query }) }, `Open “${query}”`), ", who may be new.")];
}

/** A user as a tile with the latest pictures of the history. */
function person(user, signal) {
  const pictures = el("span", { class: "collage", "aria-hidden": "true" });
  known(api.user(user, signal), { history: [] })
    .then(({ history }) => pictures.append(...history.slice(0, PICTURES).map(image)))
    .catch(() => {}); // The tile does without pictures.
  return el("li", {}, el("a", { href: address("user", { user }) }, pictures, el("span", {}, called(user))));
}

/** A search that follows the typing and draws the first `most`; `look(query, limit, signal)` gives what was found. */
async function search(name, label, most, draw, look) {
  const id = `search-${name.toLowerCase()}`;
  const found = el("div", {});
  const status = el("p", { class: "quiet", role: "status" });
  let asking = new AbortController();
  const update = async (query) => {
    asking.abort();
    asking = new AbortController();
    const { signal } = asking;
    const all = await look(query, most + 1, signal); // One more tells whether there are more.
    if (signal.aborted) return;
    found.replaceChildren(...draw(all.slice(0, most), query, signal));
    status.textContent = all.length > most ? `The first ${most} are shown.` : all.length ? "" : `Nothing found for “${query}”.`;
  };
  const typed = debounced((query) =>
    update(query).catch((error) => {
      if (error.name !== "AbortError") status.textContent = error.message;
    }),
  );
  const field = el("input", { id, type: "search", autocomplete: "off", placeholder: label, input: () => typed(field.value) });
  await update("");
  return el("section", {}, el("h2", {}, el("label", { for: id }, name)), field, status, found);
}
