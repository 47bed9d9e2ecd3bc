"""Rewrites the parts of pages that follow from the code or from figures kept beside it: `make docs`.

Such a part stands between `<!-- begin NAME: make docs -->` and `<!-- end NAME -->`. Tests compare it with what this
module would write, so a command, setting, endpoint or file that is not documented fails a test.
"""

from collections.abc import Callable

from tests.benchmarks import tables
from tests.support import layout, reference


def fenced(text: str) -> str:
    """`text` as a Markdown block shown letter by letter."""
    return f"```\n{text}\n```"


PARTS: dict[str, dict[str, Callable[[], str]]] = {
    "README.md": {
        "commands": reference.commands,
        "settings": reference.settings,
        "endpoints": reference.endpoints,
        "metrics": reference.metrics,
        "headlines": tables.headlines,
    },
    "tests/BENCHMARKS.md": {"benchmarks": tables.every},
    "CONTRIBUTING.md": {"layout": lambda: fenced(layout.tree())},
}


def section(page: str, name: str) -> str:
    """What stands between the marks of part `name`. Raises `LookupError` where `page` lacks them."""
    return split(page, name)[1].strip("\n")


def split(page: str, name: str) -> tuple[str, str, str]:
    """`page` before, between and after the marks of part `name`, the marks staying outside."""
    begin, end = f"<!-- begin {name}: make docs -->", f"<!-- end {name} -->"
    if page.count(begin) != 1 or page.count(end) != 1:
        raise LookupError(f"expected one {begin!r} and one {end!r}")
    before, rest = page.split(begin)
    between, after = rest.split(end)
    return before + begin, between, end + after


def main() -> None:
    """Rewrite every part in place."""
    for file, parts in PARTS.items():
        path = layout.ROOT / file
        page = path.read_text()
        for name, write in parts.items():
            before, _, after = split(page, name)
            page = f"{before}\n{write()}\n{after}"
        path.write_text(page)


if __name__ == "__main__":
    main()
