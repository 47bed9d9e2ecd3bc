// Where one begins: find a user or an item.

import { api, known } from "./api.js";
import { cards, image } from "./cards.js";
import { address, debounced, el } from "./dom.js";

const PICTURES = 4;

export async function find() {
  const users = await search("Users", "Beginning of a user id", async (query, signal) => {
    const found = (await api.users(query, signal)).users;
    return [found.length, el("ul", { class: "people", "aria-label": "Users found" }, found.map((user) => person(user, signal)))];
  });
  const items = await search("Items", "Part of a title or id", async (query, signal) => {
    const found = (await api.items(query, 12, signal)).items;
    return [found.length, cards(found, { label: "Items found", small: true })];
  });
  const lead = "Pick somebody to see what they are shown, and how much of every score each expert brought to it.";
  return { title: "Whose recommendations?", nodes: [el("p", { class: "lead" }, lead), users, items] };
}

/** A user as a tile with the latest pictures of the history. */
function person(user, signal) {
  const pictures = el("span", { class: "collage", "aria-hidden": "true" });
  known(api.user(user, signal), { history: [] })
    .then(({ history }) => pictures.append(...history.slice(0, PICTURES).map(image)))
    .catch(() => {}); // The tile does without pictures.
  return el("li", {}, el("a", { href: address("user", { user }) }, pictures, el("span", {}, user)));
}

/** A search that follows the typing; `look(query, signal)` gives how many were found, and a list of them. */
async function search(name, label, look) {
  const id = `search-${name.toLowerCase()}`;
  const found = el("div", {});
  const status = el("p", { class: "quiet", role: "status" });
  let asking = new AbortController();
  const update = async (query) => {
    asking.abort();
    asking = new AbortController();
    const { signal } = asking;
    const [count, list] = await look(query, signal);
    if (signal.aborted) return;
    found.replaceChildren(list);
    status.textContent = count ? "" : `Nothing found for “${query}”.`;
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
