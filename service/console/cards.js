// Items as cards: picture or placeholder, title, and what the view adds.

import { picture } from "./api.js";
import { address, called, el } from "./dom.js";

/** A list of cards; `more(item)` gives what stands below each title, `badge(item)` what stands on the picture. */
export function cards(items, { label, small = false, more, badge }) {
  return el("ul", { class: small ? "cards small" : "cards", "aria-label": label }, items.map((item) => card(item, more, badge)));
}

export function card(item, more = () => [], badge = () => null) {
  return el("li", { class: "card" }, heading(item, badge(item)), more(item));
}

/** Picture and title; both lead to what is like the item. */
export function heading(item, badge = null) {
  const frame = image(item);
  if (badge) frame.append(badge);
  return el("a", { class: "heading", href: address("similar", { item: item.item }) }, frame, title(item));
}

export function title(item) {
  return el("span", { class: "title" }, called(item.item, item.title));
}

/** The picture, which is decoration beside the title; a placeholder with initials where there is none. */
export function image(item) {
  const frame = el("span", { class: `picture tint-${tint(item.item)}`, "aria-hidden": "true" }, el("span", { class: "initial" }, initials(item)));
  if (item.image) load(frame, item.image);
  return frame;
}

async function load(frame, hash) {
  const img = el("img", { alt: "", decoding: "async", width: 128, height: 128 });
  try {
    const source = await picture(hash);
    img.addEventListener("load", () => {
      frame.append(img);
      if (source.startsWith("blob:")) URL.revokeObjectURL(source);
    });
    img.src = source;
  } catch {
    // The placeholder stays.
  }
}

function initials({ title, item }) {
  const words = called(item, title).split(/\s+/).filter((word) => /^[\p{L}\p{N}]/u.test(word)).slice(0, 2);
  return words.map((word) => [...word][0].toUpperCase()).join("") || "·";
}

/** One of six quiet colours, always the same for an id, so that items without pictures can be told apart. */
function tint(text) {
  return [...text].reduce((total, letter) => (total * 31 + letter.codePointAt(0)) % 997, 7) % 6;
}
