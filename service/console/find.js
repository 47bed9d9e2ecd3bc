// Where one begins: find a user or an item.

import { api } from "./api.js";
import { cards } from "./cards.js";
import { address, debounced, el } from "./dom.js";

export async function find() {
  const users = await search("Users", "Beginning of a user id", async (query, signal) => {
    const found = (await api.users(query, signal)).users;
    const links = found.map((user) => el("li", {}, el("a", { href: address("user", { user }) }, user)));
    return [found.length, el("ul", { class: "names", "aria-label": "Users found" }, links)];
  });
  const items = await search("Items", "Part of a title or id", async (query, signal) => {
    const found = (await api.items(query, 12, signal)).items;
    return [found.length, cards(found, { label: "Items found", small: true })];
  });
  return { title: "Whose recommendations?", nodes: [users, items] };
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
    status.textContent = count ? "" : "Nothing found.";
  };
  const typed = debounced((query) =>
    update(query).catch((error) => {
      if (error.name !== "AbortError") status.textContent = error.message;
    }),
  );
  const field = el("input", { id, type: "search", autocomplete: "off", input: () => typed(field.value) });
  await update("");
  return el("section", {}, el("h2", {}, el("label", { for: id }, name)), field, el("p", { class: "quiet" }, label), status, found);
}
