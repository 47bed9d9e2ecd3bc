// Items as cards: picture or placeholder, title, and what the view adds.

import { picture } from "./api.js";
import { address, el } from "./dom.js";

/** A list of cards; `more(item)` gives what stands below each title. */
export function cards(items, { label, small = false, more = () => [] }) {
  const entries = items.map((item) => el("li", { class: "card" }, heading(item), more(item)));
  return el("ul", { class: small ? "cards small" : "cards", "aria-label": label }, entries);
}

/** Picture and title; both lead to what is like the item. */
export function heading(item) {
  return el("a", { class: "heading", href: address("similar", { item: item.item }) }, image(item), title(item));
}

export function title(item) {
  return el("span", { class: "title" }, item.title || item.item);
}

/** The picture, which is decoration beside the title; a placeholder with an initial where there is none. */
export function image(item) {
  const frame = el("span", { class: "picture", "aria-hidden": "true" }, initial(item));
  if (item.image) load(frame, item.image);
  return frame;
}

async function load(frame, hash) {
  const img = el("img", { alt: "", loading: "lazy", decoding: "async", width: 128, height: 128 });
  try {
    const source = await picture(hash);
    img.addEventListener("load", () => source.startsWith("blob:") && URL.revokeObjectURL(source));
    img.addEventListener("error", () => img.remove());
    img.src = source;
    frame.append(img);
  } catch {
    // The placeholder stays.
  }
}

function initial(item) {
  return [...(item.title || item.item)][0].toUpperCase();
}
