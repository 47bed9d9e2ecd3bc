// Building the page. Text from the service becomes text nodes, never markup.

const SVG = "http://www.w3.org/2000/svg";

/** An element. Functions become listeners, `true` a bare attribute; `null`, `undefined` and `false` leave out. */
export function el(tag, attributes = {}, ...children) {
  return built(document.createElement(tag), attributes, children);
}

/** An element of a drawing. */
export function draw(tag, attributes = {}, ...children) {
  return built(document.createElementNS(SVG, tag), attributes, children);
}

function built(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") node.addEventListener(name, value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return node;
}

/** What a thing is called: its title, else its id, which may be blank too; links and headings must not be. */
export function called(id, title) {
  if (title?.trim()) return title;
  return id.trim() ? id : `“${id}”`;
}

/** The address of a view of this console, every value percent-encoded. */
export function address(page, values = {}) {
  const query = new URLSearchParams(values).toString();
  return `#/${page}${query ? `?${query}` : ""}`;
}

/** A table whose first column heads its rows; cells are text or nodes, columns of numbers are aligned to the right. */
export function table(caption, head, rows) {
  const numeric = head.map((_, column) => rows.every((row) => isNumeric(row[column])));
  const side = (column) => (numeric[column] ? "number" : null);
  const cell = (value, column) =>
    column ? el("td", { class: side(column) }, shown(value)) : el("th", { scope: "row" }, shown(value));
  return el(
    "div",
    { class: "scroll panel", tabindex: "0", role: "region", "aria-label": caption },
    el(
      "table",
      {},
      el("caption", { class: "unseen" }, caption),
      el("thead", {}, el("tr", {}, head.map((name, column) => el("th", { scope: "col", class: side(column) }, name)))),
      el("tbody", {}, rows.map((row) => el("tr", {}, row.map(cell)))),
    ),
  );
}

function isNumeric(value) {
  return value === null || typeof value === "number" || (typeof value === "string" && /^[+−][\d.]+$/.test(value));
}

/** Numbers that matter, large; those that are not known are left out. */
export function tiles(values) {
  const known = Object.entries(values).filter(([, value]) => value !== null && value !== undefined);
  return el("dl", { class: "tiles" }, known.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, shown(value)))));
}

/** A document of facts, one line each; the names of nested ones are joined. */
export function facts(document) {
  const lines = flat(document);
  if (!lines.length) return el("p", { class: "quiet" }, "Nothing was measured.");
  return el("dl", { class: "facts" }, lines.flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, shown(value))]));
}

function flat(document, before = "") {
  return Object.entries(document).flatMap(([name, value]) => {
    const full = before + words(name);
    return isObject(value) ? flat(value, `${full} · `) : [[full, value]];
  });
}

export function isObject(value) {
  return value !== null && typeof value === "object" && !Array.isArray(value) && !(value instanceof Node);
}

export function words(name) {
  return name.replaceAll("_", " ");
}

/** A value as people read it: numbers to four digits, nothing as a dash. */
export function shown(value) {
  if (value === null || value === undefined || value === "") return "–";
  if (typeof value === "number") return number(value);
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (Array.isArray(value)) return value.map((entry) => (isObject(entry) ? JSON.stringify(entry) : shown(entry))).join(", ");
  return value instanceof Node ? value : String(value);
}

export function number(value) {
  return Number.isInteger(value) ? value.toLocaleString("en") : value.toLocaleString("en", { maximumSignificantDigits: 4 });
}

/** A share as a percentage. */
export function percent(value) {
  return `${(100 * value).toFixed(value > 0 && value < 0.1 ? 1 : 0)} %`;
}

/** A number with its sign, for amounts that add up. */
export function signed(value) {
  return `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(4)}`;
}

/** A moment as people read it, in their own time zone. */
export function moment(text) {
  return el("time", { datetime: text }, new Date(text).toLocaleString("en", { dateStyle: "medium", timeStyle: "short" }));
}

/** Calls `action` once nothing has happened for a moment. */
export function debounced(action, milliseconds = 200) {
  let timer;
  return (...values) => {
    clearTimeout(timer);
    timer = setTimeout(() => action(...values), milliseconds);
  };
}
