// The console: which view the address asks for, and what to do where a view cannot be had.

import { key, Problem } from "./api.js";
import { el } from "./dom.js";
import { experts } from "./experts.js";
import { explain } from "./explain.js";
import { find } from "./find.js";
import { similar } from "./similar.js";
import { snapshot } from "./snapshot.js";
import { user } from "./user.js";

const VIEWS = { "": find, user, explain, similar, experts, snapshot };
const view = document.getElementById("view");
const forget = document.getElementById("forget-key");
let turn = 0;

/**
 * Show the view of the address. A view is a function from the address's values to {title, nodes}, and `focus` where
 * something other than the top comes first. It may show itself anew: `again(said)` hands it what is still to be said.
 */
async function show(said = "") {
  const mine = ++turn;
  const [page, query = ""] = location.hash.replace(/^#\/?/, "").split(/\?(.*)/s);
  const make = VIEWS[page];
  mark(page);
  view.setAttribute("aria-busy", "true");
  let made;
  try {
    if (!make) throw new Problem(404, `There is no page “${page}”.`);
    made = await make(new URLSearchParams(query), { said, again: show });
  } catch (error) {
    made = error.status === 401 ? askForKey(error) : failure(error);
  }
  if (mine !== turn) return;
  view.replaceChildren(el("h1", {}, made.title), ...made.nodes);
  view.removeAttribute("aria-busy");
  document.title = `${made.title} · MAGNET`;
  if (made.focus) {
    made.focus.focus();
  } else if (mine > 1) { // A page that was just loaded keeps the focus where browsers have it: before the skip link.
    view.focus({ preventScroll: true });
    scrollTo(0, 0);
  }
}

function mark(page) {
  for (const link of document.querySelectorAll("[data-page]")) {
    if (link.dataset.page === page) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  forget.hidden = !key.get();
}

function askForKey(error) {
  const field = el("input", { id: "key", type: "password", autocomplete: "off", required: true });
  const keep = (event) => {
    event.preventDefault();
    key.set(field.value.trim());
    show();
  };
  const note = el("p", { role: "alert" }, `${error.message} It is kept until this tab closes.`);
  const form = el("form", { class: "inline", submit: keep }, el("label", { for: "key" }, "API key"), field, el("button", {}, "Continue"));
  return { title: "Key needed", nodes: [note, form], focus: field };
}

function failure(error) {
  const again = el("button", { type: "button", click: () => show() }, "Try again");
  const begin = el("a", { class: "button plain", href: "#/" }, "Find somebody");
  const title = error.status === 404 ? "Not here" : "This did not work";
  return { title, nodes: [el("p", { role: "alert", class: "notice" }, error.message), el("p", { class: "actions" }, again, begin)] };
}

forget.addEventListener("click", () => {
  key.forget();
  show();
});
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault(); // The address says which view is shown.
  view.focus();
});
for (const link of document.querySelectorAll(".top a")) {
  link.addEventListener("click", () => {
    if (link.hash === location.hash) show(); // Browsers do nothing where the address stays.
  });
}
addEventListener("hashchange", () => show());
show();
