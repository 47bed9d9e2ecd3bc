// What a user of the console may turn: modalities, diversity, category.

import { el } from "./dom.js";

/** The controls, set from the address's `values`; `changed(wish)` is told on every move. */
export function controls({ modalities, categories, values, changed }) {
  const steered = new Map(values.getAll("steer").map((entry) => entry.split(/:(?=[^:]*$)/)));
  const sliders = modalities.map((name) => slider(name, 4, 1, steered.get(name), tell));
  const diversity = slider("diversity", 1, 0, values.get("diversity"), tell);
  const category = choice(categories, values.get("category"), tell);

  function wish() {
    const steer = sliders.flatMap(({ name, input }) => (input.value === "1" ? [] : [["steer", `${name}:${input.value}`]]));
    const diverse = diversity.input.value === "0" ? [] : [["diversity", diversity.input.value]];
    return [...steer, ...diverse, ...(category?.input.value ? [["category", category.input.value]] : [])];
  }
  function tell() {
    const wished = wish();
    button.disabled = !wished.length;
    changed(wished);
  }
  function reset() {
    for (const { input, neutral, show } of [...sliders, diversity]) {
      input.value = neutral;
      show();
    }
    if (category) category.input.value = "";
    sliders[0].input.focus();
    tell();
  }

  const button = el("button", { type: "button", class: "plain", click: reset, disabled: !wish().length }, "Reset");
  const nodes = [...sliders, diversity, ...(category ? [category] : [])].map(({ node }) => node);
  return { wish, node: el("section", { class: "controls panel", role: "group", "aria-label": "Steer" }, el("h2", {}, "Steer"), nodes, button) };
}

function slider(name, max, neutral, value, tell) {
  const id = `slider-${name}`;
  const given = Number.parseFloat(value);
  const input = el("input", { id, type: "range", min: 0, max, step: 0.05, value: Number.isFinite(given) ? given : neutral });
  const output = el("output", { for: id });
  const show = () => {
    output.textContent = max === 1 ? Number(input.value).toFixed(2) : `× ${Number(input.value).toFixed(2)}`;
  };
  input.addEventListener("input", () => {
    show();
    tell();
  });
  show();
  return { name, input, neutral, show, node: el("div", {}, el("label", { for: id }, name), output, input) };
}

function choice(categories, value, tell) {
  if (!categories.length) return null;
  const options = categories.map((name) => el("option", { value: name }, name));
  const input = el("select", { id: "category", change: tell }, el("option", { value: "" }, "all"), options);
  input.value = value ?? "";
  return { input, node: el("div", {}, el("label", { for: "category" }, "category"), input) };
}
