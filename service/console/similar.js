// An item, and what is like it: overall or by one modality.

import { api } from "./api.js";
import { cards, image } from "./cards.js";
import { address, called, el, number } from "./dom.js";

export async function similar(values) {
  const item = values.get("item") ?? "";
  const by = values.get("by") ?? "overall";
  const [known, found, model] = await Promise.all([api.item(item), api.similar(item, by), api.snapshot()]);
  const ways = ["overall", ...model.manifest.modalities.map(({ name }) => name)];
  const links = ways.map((way) =>
    el("a", { href: address("similar", { item, by: way }), "aria-current": way === by ? "page" : null }, way),
  );
  const more = (entry) => el("span", { class: "foot" }, el("span", {}, "similarity"), el("span", {}, entry.similarity.toFixed(3)));
  const list = found.items.length
    ? cards(found.items, { label: `Similar items, ${by}`, more })
    : el("p", { class: "notice" }, `Nothing to compare: this item has no ${by} evidence.`);
  return {
    title: called(known.item, known.title),
    nodes: [
      el("div", { class: "subject" }, image(known), details(known)),
      el("h2", {}, "Similar items"),
      el("nav", { class: "ways", "aria-label": "Similar by" }, links),
      list,
    ],
  };
}

function details(known) {
  const has = Object.entries(known.modalities).filter(([, present]) => present).map(([name]) => name);
  const field = el("input", { id: "asker", type: "search", autocomplete: "off", required: true, pattern: ".*\\S.*", placeholder: "A user id" });
  const ask = (event) => {
    event.preventDefault();
    location.hash = address("explain", { user: field.value.trim(), item: known.item });
  };
  return el(
    "div",
    {},
    el("p", { class: "quiet" }, [known.item, ...known.categories].join(" · ")),
    known.description ? el("p", {}, known.description) : null,
    el("p", { class: "quiet" }, `${number(known.interactions)} interactions · known by ${has.join(", ") || "nothing"}`),
    el("form", { class: "inline", submit: ask }, el("label", { for: "asker" }, "How does it score for"), field, el("button", { class: "plain" }, "Explain")),
  );
}
