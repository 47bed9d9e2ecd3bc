// Building the page. Text from the service becomes text nodes, never markup.

/** An element. Functions become listeners, `true` a bare attribute; `null`, `undefined` and `false` leave out. */
export function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") node.addEventListener(name, value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return node;
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
    column ? el("td", { class: side(column) }, shown(value)) : el("th", { scope: "row" }, value);
  return el(
    "div",
    { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    el(
      "table",
      {},
      el("caption", {}, caption),
      el("thead", {}, el("tr", {}, head.map((name, column) => el("th", { scope: "col", class: side(column) }, name)))),
      el("tbody", {}, rows.map((row) => el("tr", {}, row.map(cell)))),
    ),
  );
}

function isNumeric(value) {
  return value === null || typeof value === "number" || (typeof value === "string" && /^[+−][\d.]+$/.test(value));
}

/** A document of facts, nested ones nested. */
export function facts(document) {
  const entries = Object.entries(document).flatMap(([name, value]) => [
    el("dt", {}, words(name)),
    el("dd", {}, isObject(value) ? facts(value) : shown(value)),
  ]);
  return entries.length ? el("dl", { class: "facts" }, entries) : el("p", { class: "quiet" }, "Nothing was measured.");
}

export function isObject(value) {
  return value !== null && typeof value === "object" && !Array.isArray(value);
}

export function words(name) {
  return name.replaceAll("_", " ");
}

/** A value as people read it: numbers to four digits, nothing as a dash. */
export function shown(value) {
  if (value === null || value === undefined) return "–";
  if (typeof value === "number") return number(value);
  if (Array.isArray(value)) return value.map((entry) => (isObject(entry) ? JSON.stringify(entry) : shown(entry))).join(", ");
  return value instanceof Node ? value : String(value);
}

export function number(value) {
  return Number.isInteger(value) ? value.toLocaleString("en") : value.toLocaleString("en", { maximumSignificantDigits: 4 });
}

/** A number with its sign, for amounts that add up. */
export function signed(value) {
  return `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(4)}`;
}

/** Calls `action` once nothing has happened for a moment. */
export function debounced(action, milliseconds = 200) {
  let timer;
  return (...values) => {
    clearTimeout(timer);
    timer = setTimeout(() => action(...values), milliseconds);
  };
}
