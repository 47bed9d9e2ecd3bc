"""A page of HTML that needs nothing else: style inside, figures as data URIs. All text is escaped here."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

_STYLE = """
:root { color-scheme: light dark; --ink: #1c2330; --soft: #5b6575; --line: #d9dee6; --back: #ffffff;
        --raised: #f5f7fa; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e9ef; --soft: #a3adbd; --line: #343c49; --back: #14181f; --raised: #1d232d; }
}
body { margin: 0 auto; max-width: 62rem; padding: 2rem 1.25rem 4rem; color: var(--ink); background: var(--back);
       font: 16px/1.55 system-ui, -apple-system, "Segoe UI", sans-serif; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .3rem; }
h2 { font-size: 1.2rem; margin: 2.6rem 0 .6rem; padding-top: 1rem; border-top: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 1.5rem 0 .4rem; }
p { max-width: 46rem; margin: .4rem 0 .8rem; }
p.soft, figcaption { color: var(--soft); font-size: .9rem; }
nav { display: flex; flex-wrap: wrap; gap: .2rem 1rem; margin: 1rem 0; font-size: .92rem; }
a { color: inherit; }
.numbers { display: grid; grid-template-columns: repeat(auto-fit, minmax(7.6rem, 1fr)); gap: .7rem; margin: 1.2rem 0; }
.numbers div { background: var(--raised); border-radius: .5rem; padding: .7rem .9rem; }
.numbers dt { color: var(--soft); font-size: .85rem; }
.numbers dd { margin: 0; font-size: 1.35rem; font-variant-numeric: tabular-nums; }
figure { margin: 1rem 0; }
figure img { display: block; width: 100%; height: auto; background: #fff; border-radius: .4rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .8rem .3rem 0; text-align: right; border-bottom: 1px solid var(--line); }
th:first-child, td:first-child { text-align: left; }
thead th { color: var(--soft); font-weight: 600; }
tbody th { font-weight: 400; }
pre { background: var(--raised); padding: 1rem; border-radius: .5rem; overflow-x: auto; font-size: .85rem; }
""".strip()


@dataclass(frozen=True)
class Section:
    """One part of the page; `parts` are HTML."""

    title: str
    parts: Sequence[str]


def page(title: str, lead: str, numbers: Mapping[str, str], sections: Sequence[Section]) -> str:
    """The whole page; sections without parts are left out."""
    shown = [section for section in sections if section.parts]
    links = "".join(f'<a href="#{_anchor(section)}">{escape(section.title)}</a>' for section in shown)
    cards = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in numbers.items())
    body = "\n".join(
        f'<section id="{_anchor(section)}"><h2>{escape(section.title)}</h2>\n{"".join(section.parts)}</section>'
        for section in shown
    )
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n{_STYLE}\n</style>\n</head>\n<body>\n"
        f"<header><h1>{escape(title)}</h1>{paragraph(lead, soft=True)}"
        f'<dl class="numbers">{cards}</dl><nav aria-label="Sections">{links}</nav></header>\n'
        f"<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def paragraph(text: str, *, soft: bool = False) -> str:
    """Running text."""
    kind = ' class="soft"' if soft else ""
    return f"<p{kind}>{escape(text)}</p>\n"


def heading(text: str) -> str:
    """A heading within a section."""
    return f"<h3>{escape(text)}</h3>\n"


def figure(svg: str, says: str) -> str:
    """A drawing; `says` is its caption and what stands in for it where it cannot be seen."""
    data = b64encode(svg.encode()).decode()
    source = f"data:image/svg+xml;base64,{data}"
    return f'<figure><img alt="{escape(says)}" src="{source}"><figcaption>{escape(says)}</figcaption></figure>\n'


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Values in columns; the first of each row names it."""
    head = "".join(f'<th scope="col">{escape(column)}</th>' for column in columns)
    body = "".join(
        f'<tr><th scope="row">{escape(str(row[0]))}</th>'
        + "".join(f"<td>{escape(value_text(value))}</td>" for value in row[1:])
        + "</tr>\n"
        for row in rows
    )
    said = escape(", ".join(columns))
    scrolls = f'<div class="wide" tabindex="0" role="group" aria-label="{said}">'
    return f"{scrolls}<table><thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table></div>\n"


def code(text: str) -> str:
    """Text as it is."""
    return f'<pre tabindex="0">{escape(text)}</pre>\n'


def value_text(value: Any) -> str:
    """A value for people: four decimals or two, whole numbers whole, nothing as a dash."""
    if value is None or value == "":
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.0f}" if value.is_integer() and abs(value) > 1 else f"{value:.{4 if abs(value) < 10 else 2}f}"
    if isinstance(value, list | tuple):
        return ", ".join(value_text(one) for one in value)
    return str(value)


def _anchor(section: Section) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in section.title.lower())
