// Signed amounts as stacked bars around a common zero, with legend and text for those who do not see them.

import { el, signed } from "./dom.js";

const COLOURS = 12;

/** One bar of `parts` ({name, amount, colour}), as long as the scale of what it stands in says (see `scaled`). */
export function bar(parts, label) {
  const text = parts.map(({ name, amount }) => `${name} ${signed(amount)}`).join(", ");
  const side = (sign) => {
    const on = parts.filter(({ amount }) => amount * sign > 0);
    return el("span", { class: sign < 0 ? "negative" : "positive" }, on.map(segment));
  };
  return el("span", { class: "bar", role: "img", "aria-label": `${label}: ${text}` }, side(-1), side(1));
}

function segment({ name, amount, colour }) {
  const node = el("span", { class: `segment ${colour}`, title: `${name} ${signed(amount)}` });
  node.style.setProperty("--amount", Math.abs(amount));
  return node;
}

/** Give the bars inside `node` one scale, wide enough for every list of parts in `lists`. */
export function scaled(node, lists) {
  const reach = (sign) => Math.max(0, ...lists.map((parts) => sum(parts.filter(({ amount }) => amount * sign > 0))));
  node.classList.toggle("signed", reach(-1) > 0);
  node.style.setProperty("--below", reach(-1));
  node.style.setProperty("--above", reach(1) || 1e-9);
  return node;
}

/** One large bar with its legend, the amounts written out. */
export function chart(parts, label, write = signed) {
  const named = parts.map((part) => ({ ...part, note: write(part.amount) }));
  return scaled(el("div", { class: "tall" }, bar(parts, label), legend(named, label)), [parts]);
}

export function legend(entries, label) {
  const line = ({ name, colour, note }) =>
    el("li", {}, el("span", { class: `swatch ${colour}` }), name, note ? el("span", { class: "note" }, note) : null);
  return el("ul", { class: "legend", "aria-label": label }, entries.map(line));
}

/** The palettes of a model, from its manifest: every name has one colour in all views, terms that always count are grey. */
export function palettes({ terms, modalities }) {
  return { term: palette(terms.filter(({ role }) => role !== "base")), modality: palette(modalities) };
}

function palette(entries) {
  const places = new Map(entries.map(({ name }, place) => [name, `colour-${(place % (COLOURS - 1)) + 1}`]));
  return (name) => places.get(name) ?? "colour-0";
}

/** The terms of a score as parts of a bar. */
export function terms(experts, colour) {
  return experts.map(({ name, contribution }) => ({ name, amount: contribution, colour: colour(name) }));
}

/** Amounts or shares by modality as parts of a bar. */
export function mix(amounts, colour) {
  return Object.entries(amounts).map(([name, amount]) => ({ name, amount, colour: colour(name) }));
}

function sum(parts) {
  return parts.reduce((total, { amount }) => total + Math.abs(amount), 0);
}
