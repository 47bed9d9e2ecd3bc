"""The report's figures, as SVG text. Equal numbers give equal text: fixed ids, no date, no version.

Figures are made without pyplot, which keeps global state.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import StringIO
from typing import Any

import numpy as np
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure

Series = Mapping[str, tuple[Sequence[float], Sequence[float]]]

# Okabe and Ito's palette first, which people with any colour vision tell apart, then further ones for long lists.
COLOURS = (
    *("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#8C8C00", "#5E4FA2", "#7F7F7F"),
    *("#8C564B", "#17A2A2", "#B279A2", "#54A24B", "#E45756", "#4C4C4C"),
)
_STYLE: dict[Any, Any] = {
    "svg.hashsalt": "magnet",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E4E4E4",
    "axes.edgecolor": "#8A8A8A",
    "legend.frameon": False,
    "legend.fontsize": 8,
}
_UNTOLD = {"Date": None, "Creator": None, "Format": None, "Type": None}


def lines(panels: Mapping[str, Series], *, marks: Sequence[float] = (), mark: str = "") -> str:
    """Curves over steps, one panel beside the other.

    Args:
        panels: by title, the curves by name.
        marks: steps with a vertical line.
        mark: what these lines say.

    """
    with style.context(["default", _STYLE]):
        figure = Figure(figsize=(9, 2.9), layout="constrained")
        axes = figure.subplots(1, len(panels), squeeze=False)[0]
        for ax, (title, curves) in zip(axes, panels.items(), strict=True):
            for colour, (name, (steps, values)) in zip(_colours(len(curves)), curves.items(), strict=True):
                ax.plot(steps, values, color=colour, label=name, linewidth=1.6, marker=".", markersize=3)
            _mark(ax, marks, mark)
            ax.set(title=title, xlabel="step")
            ax.margins(y=0.08)
            ax.legend()
        return _svg(figure)


def shares(curves: Series, *, marks: Sequence[float] = (), mark: str = "") -> str:
    """Shares over steps, stacked; all curves have the same steps."""
    with style.context(["default", _STYLE]):
        figure = Figure(figsize=(9, 3.4), layout="constrained")
        ax = figure.subplots()
        steps = next(iter(curves.values()))[0]
        stacked = [values for _, values in curves.values()]
        ax.stackplot(steps, *stacked, labels=list(curves), colors=_colours(len(curves)), linewidth=0)
        _mark(ax, marks, mark)
        ax.set(xlabel="step", ylabel="share of gate weight", ylim=(0, 1), xlim=(min(steps), max(steps)))
        handles, names = ax.get_legend_handles_labels()
        ax.legend(handles[::-1], names[::-1], loc="center left", bbox_to_anchor=(1.01, 0.5))
        return _svg(figure)


def bars(groups: Mapping[str, Mapping[str, float]], *, limit: float | None = None) -> str:
    """Horizontal bars: one panel per group, one bar per name, the value written beside it.

    Args:
        groups: by panel title, values by name.
        limit: right end of the axis; the largest value and some room where it is None.

    """
    longest = max(len(values) for values in groups.values())
    with style.context(["default", _STYLE]):
        figure = Figure(figsize=(9, 0.9 + 0.27 * longest), layout="constrained")
        axes = figure.subplots(1, len(groups), squeeze=False)[0]
        for ax, colour, (title, values) in zip(axes, _colours(len(groups)), groups.items(), strict=True):
            places = np.arange(len(values))
            drawn = ax.barh(places, list(values.values()), color=colour, height=0.7)
            ax.bar_label(drawn, [f"{value:.3f}" for value in values.values()], padding=3, fontsize=8)
            ax.set_yticks(places, list(values))
            ax.invert_yaxis()
            ax.grid(visible=False, axis="y")
            low = min(0.0, *values.values())
            ax.set(title=title, xlim=(low * 1.25, (limit or max(1e-9, *values.values())) * 1.2))
            if limit is not None:
                ax.set_xticks([tick for tick in ax.get_xticks() if tick <= limit])
        return _svg(figure)


def heat_maps(maps: Mapping[str, tuple[Sequence[str], Sequence[str], Sequence[Sequence[float]]]]) -> str:
    """Tables of shares from 0 to 1 as coloured cells with their values; by title: rows, columns, values."""
    tallest = max(len(rows) for rows, _, _ in maps.values())
    with style.context(["default", _STYLE, {"axes.grid": False}]):
        figure = Figure(figsize=(9, 1.0 + 0.3 * tallest), layout="constrained")
        axes = figure.subplots(1, len(maps), squeeze=False)[0]
        for ax, (title, (rows, columns, cells)) in zip(axes, maps.items(), strict=True):
            values = np.asarray(cells, dtype=np.float64).reshape(len(rows), len(columns))
            darkest = max(float(values.max(initial=0)), 1e-9)
            ax.imshow(values, cmap="Blues", vmin=0, vmax=darkest, aspect="auto", interpolation="nearest")
            for (row, column), value in np.ndenumerate(values):
                colour = "white" if value > 0.6 * darkest else "#222222"
                ax.text(column, row, f"{value:.2f}", ha="center", va="center", color=colour, fontsize=8)
            ax.set_xticks(range(len(columns)), list(columns))
            ax.set_yticks(range(len(rows)), list(rows))
            ax.set_title(title)
        return _svg(figure)


def _colours(count: int) -> list[str]:
    return [COLOURS[place % len(COLOURS)] for place in range(count)]


def _mark(ax: Axes, steps: Sequence[float], text: str) -> None:
    for step in steps:
        ax.axvline(step, color="#222222", linestyle="--", linewidth=1, label=text)


def _svg(figure: Figure) -> str:
    out = StringIO()
    figure.savefig(out, format="svg", metadata=_UNTOLD)
    return out.getvalue()
