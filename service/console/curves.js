// What was logged while fitting, as curves over steps.

import { legend } from "./bars.js";
import { draw, el, number } from "./dom.js";

const WIDTH = 360;
const HEIGHT = 180;
const LEFT = 42;
const BOTTOM = 22;
const TOP = 8;
const RIGHT = 8;
const SWITCH = "stage_switch";
const ENTROPY = "Routing entropy (1: uniform)";
const LOAD = "Expert load";
const ROUTED = new Set([ENTROPY, LOAD]);

/** A figure per subject of a phase, from its records ({step, name: value}); `colour` gives an expert its colour. */
export function curves(phase, records, colour) {
  const switches = records.filter((record) => record[SWITCH] !== undefined).map(({ step }) => step);
  const names = [...new Set(records.flatMap((record) => Object.keys(record)))];
  const loads = names.filter((name) => name.startsWith("load/"));
  const subjects = [
    ["Loss", [["loss", "loss", "colour-1"]]],
    ["Validation", [["valid/recall@20", "Recall@20", "colour-1"], ["valid/ndcg@20", "NDCG@20", "colour-2"]]],
    [ENTROPY, [["load_entropy", "of the mean load", "colour-1"], ["pair_entropy", "of one pair's gate", "colour-2"]]],
    [LOAD, loads.map((name) => [name, name.slice(5), colour(name.slice(5))])],
  ];
  return subjects.flatMap(([title, wanted]) => {
    const found = wanted.map(([key, name, shade]) => ({ name, colour: shade, points: points(records, key) }));
    const drawn = found.filter((curve) => curve.points.length > 1);
    return drawn.length ? [figure(title, phase, drawn, ROUTED.has(title) ? switches : [])] : [];
  });
}

function points(records, key) {
  return records.filter((record) => Number.isFinite(record[key])).map((record) => [record.step, record[key]]);
}

function figure(title, phase, drawn, switches) {
  const label = `${title}, ${phase}`;
  const xs = drawn.flatMap((curve) => curve.points.map(([x]) => x));
  const ys = drawn.flatMap((curve) => curve.points.map(([, y]) => y));
  const x = scale([0, Math.max(...xs)], [LEFT, WIDTH - RIGHT]);
  const rows = ticks(Math.min(...ys), Math.max(...ys));
  const y = scale([rows[0], rows.at(-1)], [HEIGHT - BOTTOM, TOP]);
  const said = drawn.map(({ name, points: [[, first], ...rest] }) => `${name} from ${number(first)} to ${number(rest.at(-1)[1])}`);
  const marks = switches.map((step) =>
    draw("g", { class: "mark" }, draw("line", { x1: x(step), x2: x(step), y1: TOP, y2: HEIGHT - BOTTOM }), draw("title", {}, `second stage begins at step ${step}`)),
  );
  const drawing = draw(
    "svg",
    { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": `${label}: ${said.join("; ")}` },
    rows.map((value) => draw("g", {}, draw("line", { x1: LEFT, x2: WIDTH - RIGHT, y1: y(value), y2: y(value) }), words(LEFT - 6, y(value) + 4, "end", number(value)))),
    ticks(0, Math.max(...xs)).filter((step) => step <= Math.max(...xs)).map((step) => words(x(step), HEIGHT - 6, "middle", number(step))),
    marks,
    drawn.map(({ colour, points: line }) => draw("polyline", { class: `curve ${colour}`, points: line.map(([a, b]) => `${x(a)},${y(b)}`).join(" ") })),
  );
  const shown = switches.length ? [...drawn, { name: `second stage, step ${switches[0]}`, colour: "dashed" }] : drawn;
  return el("figure", { class: "panel" }, el("figcaption", {}, title, el("span", { class: "note" }, phase)), drawing, legend(shown, label));
}

function words(x, y, anchor, text) {
  return draw("text", { x, y, "text-anchor": anchor }, text);
}

function scale([from, to], [start, end]) {
  return (value) => Math.round(10 * (start + ((value - from) / (to - from || 1)) * (end - start))) / 10;
}

/** Three to six round values that enclose `low` and `high`. */
function ticks(low, high) {
  const span = high - low || Math.abs(high) || 1;
  const power = 10 ** Math.floor(Math.log10(span / 4));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => span / size <= 5);
  const first = Math.floor(low / step + 1e-9);
  const last = Math.ceil(high / step - 1e-9);
  return Array.from({ length: Math.max(last - first, 1) + 1 }, (_, place) => Number(((first + place) * step).toPrecision(10)));
}
