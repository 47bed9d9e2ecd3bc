"""RESULTS.md: tables out of rows, with the line that gives each row again beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from training.comparison import LEVEL
from training.config import read_toml
from training.results.rerun import rerun
from training.results.row import ResultsError, Row, read_rows
from training.results.significance import Compared, Comparisons, Entry
from training.results.tables import REFERENCE, TABLES, TableSpec, entries

HEAD = """\
# Results

Written by `magnet-train results write` from the files in `training/results/rows/`, one per row and seed, which hold
every setting and figure; not to be edited. Full ranking, never sampled: training items are masked, validation positives
stay candidates in the test. Figures are means over users; with several seeds mean ± standard deviation over seeds. The
column `again` is the line that gives the row's first seed (`DATA` stands for the directory of the data sets, `FEATURES`
for that of feature arrays which the data set does not bring). It gives the same figures with as many threads
(`OMP_NUM_THREADS`) as the machine has in the list below; sums in another order move the fourth digit, on small sets the
third. A line that sets what its label does not speak of gives a row that was fitted before that default changed.
Seconds are those of a shared machine.
"""


def write_page(rows: Path) -> str:
    """The page; comparisons that are not known yet are made and kept.

    Raises:
        ResultsError: there are no rows, or they are damaged or do not go together.

    """
    found = read_rows(rows)
    if not found:
        raise ResultsError(f"expected rows in {rows}, found none: `magnet-train results add` writes them")
    texts = rows.parent / "datasets.toml"
    about = read_toml(texts) if texts.exists() else {}
    machines = _machines([row for _, row in found])
    parts = [HEAD, _machine_list(machines)]
    for folder in dict.fromkeys(row.folder for _, row in found):
        here = [(path, row) for path, row in found if row.folder == folder]
        row = here[0][1]
        parts.append(f"## {row.dataset}, split {row.protocol}\n")
        if row.dataset in about:
            parts.append(about[row.dataset]["text"].strip() + "\n")
        parts.append(_counts(row))
        comparisons = Comparisons(rows / folder)
        for name, spec in TABLES.items():
            if table := entries(here, name):
                parts.append(f"### {spec.title}: {row.dataset}, {row.protocol}\n\n{spec.text}\n")
                parts.append(_table(spec, table, machines, rows))
                parts += _remarks(table)
                parts += _differences(spec, table, comparisons)
        comparisons.save()
    return "\n".join(parts)


def _counts(row: Row) -> str:
    content = row.data.get("content")
    names = ", ".join(content) if isinstance(content, Mapping) else "none"
    users, items, positives = (row.data[name] for name in ("users", "items", "interactions"))
    return f"{users:,} users, {items:,} items, {positives:,} positives; content: {names}.\n"


def _table(spec: TableSpec, table: Sequence[Entry], machines: Mapping[str, str], rows: Path) -> str:
    columns = [column for column in spec.columns if any(column.cell(entry) for entry in table)]
    head = ["", "seeds", *(column.title for column in columns), "machine", "again"]
    lines = [head, ["---"] * len(head)]
    for entry in table:
        first = entry.rows[0]
        file = Path(*rows.parts[-2:]) / first.folder / f"{first.stem}.json"
        link = f"[{entry.label}]({file.as_posix()})"
        on = dict.fromkeys(machines[_machine(row)] for row in entry.rows)
        lines.append(
            [
                link,
                ", ".join(map(str, entry.seeds)),
                *(column.cell(entry) for column in columns),
                ", ".join(on),
                _again(first),
            ]
        )
    return _markdown(lines)


def _remarks(table: Sequence[Entry]) -> list[str]:
    remarks = dict.fromkeys((entry.label, row.remark) for entry in table for row in entry.rows if row.remark)
    return ["\n".join(f"- {label}: {remark}" for label, remark in remarks) + "\n"] if remarks else []


def _again(row: Row) -> str:
    try:
        return f"`{rerun(row)}`"
    except ResultsError:
        return "settings of an earlier version, complete in the row's file"


def _differences(spec: TableSpec, table: Sequence[Entry], comparisons: Comparisons) -> list[str]:
    """The reference against every other row, where the table has the reference."""
    reference = next((entry for entry in table if entry.label == REFERENCE), None)
    others = [entry for entry in table if entry is not reference]
    if reference is None or not spec.groups or not others:
        return []
    lines = [
        [f"{REFERENCE} against", "seeds", "of", "metric", "difference", "relative", "95 % interval", "p (Holm)", ""],
        ["---"] * 9,
    ]
    found = comparisons.against(reference, others, spec.groups)
    lines += [_difference(one) for one in found]
    text = f"Paired bootstrap over users, averaged over shared seeds; Holm's correction over {len(found)} comparisons."
    return [text + "\n", _markdown(lines)]


def _difference(one: Compared) -> list[str]:
    paired = one.pair.paired
    theirs = one.pair.reference - paired.mean
    verdict = "better" if paired.mean > 0 else "worse"
    return [
        one.other,
        ", ".join(map(str, one.seeds)),
        one.group,
        one.metric,
        f"{paired.mean:+.4f}",
        f"{paired.mean / theirs:+.1%}" if theirs > 0 else "",
        f"{paired.low:+.4f} to {paired.high:+.4f}",
        f"{one.adjusted:.4f}",
        verdict if one.adjusted < LEVEL else "not shown",
    ]


def _machine(row: Row) -> str:
    """One line: processor, threads, versions of what computes."""
    facts = row.machine
    device = facts.get("GPU") or f"{facts.get('processor', 'unknown processor')}"
    return (
        f"{device}, {facts.get('cores', '?')} cores, {facts.get('threads', '?')} threads; "
        f"Python {facts.get('Python', '?')}, torch {facts.get('torch', '?')}, NumPy {facts.get('numpy', '?')}"
    )


def _machines(rows: Sequence[Row]) -> dict[str, str]:
    """A letter for every machine, by first appearance."""
    names = dict.fromkeys(_machine(row) for row in rows)
    if len(names) > 26:
        raise ResultsError(f"expected rows of few machines, found {len(names)} of them")
    return {name: chr(ord("A") + place) for place, name in enumerate(names)}


def _machine_list(machines: Mapping[str, str]) -> str:
    return "\n".join(["Machines:", "", *(f"- {letter}: {name}" for name, letter in machines.items()), ""])


def _markdown(lines: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines) + "\n"
