// Signed amounts as stacked bars around a common zero, with legend and text for those who do not see them.

import { el, signed } from "./dom.js";

const COLOURS = 12;

/** How far bars reach on either side of zero, so that those of one list can be compared. */
export function reach(lists) {
  const side = (sign) => Math.max(0, ...lists.map((parts) => sum(parts.filter(({ amount }) => amount * sign > 0))));
  return { negative: side(-1), positive: side(1) };
}

/** One bar of `parts` ({name, amount, colour}), whose amounts add up to what it stands for. */
export function bar(parts, { negative, positive }, label) {
  const width = negative + positive || 1;
  const text = parts.map(({ name, amount }) => `${name} ${signed(amount)}`).join(", ");
  const half = (sign, size) => {
    const side = el("span", { class: sign < 0 ? "negative" : "positive" });
    side.style.width = `${(100 * size) / width}%`;
    for (const part of parts.filter(({ amount }) => amount * sign > 0)) {
      const segment = el("span", { class: `segment ${part.colour}`, title: `${part.name} ${signed(part.amount)}` });
      segment.style.width = `${(100 * Math.abs(part.amount)) / size}%`;
      side.append(segment);
    }
    return side;
  };
  return el("span", { class: "bar", role: "img", "aria-label": `${label}: ${text}` }, half(-1, negative), half(1, positive));
}

export function legend(entries, label) {
  const shown = entries.map(({ name, colour }) => el("li", {}, el("span", { class: `swatch ${colour}` }), name));
  return el("ul", { class: "legend", "aria-label": label }, shown);
}

/** A palette that gives every name of a model its colour, the same in every view. */
export function palette(names, prefix) {
  const places = new Map(names.map((name, place) => [name, `${prefix}-${place % COLOURS}`]));
  return (name) => places.get(name) ?? `${prefix}-0`;
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
