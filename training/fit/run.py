"""A run: its directory, seed and device, and where its progress is shown and kept."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from training.errors import TrainingError


class Advance(Protocol):
    """Tells a progress bar that one more step is done, and what to write beside it."""

    def __call__(self, note: str = "", *, steps: int = 1) -> None:
        """Move the bar by `steps` (0: only the note)."""


class Scalars(Protocol):
    """What of TensorBoard's writer a run uses."""

    def add_scalar(self, tag: str, scalar_value: float, global_step: int) -> None:
        """Record one value."""


@dataclass
class Run:
    """Everything about a run that is not the model: nothing below it prints or opens files of its own accord."""

    directory: Path
    seed: int = 0
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    amp: bool = False
    resume: bool = False
    progress: Progress | None = None
    scalars: Scalars | None = None
    earlier: list[float] = field(default_factory=list)
    """Seconds that phases had taken before this process resumed them, or found them done; members share the list."""
    advice: str = ""
    """How to go on after Ctrl-C; by default with `--resume` in the directory that the run began with, also where a fit
    has a directory of its own within it."""

    def __post_init__(self) -> None:
        self.advice = self.advice or f"the same command with --resume --out {self.directory} goes on from there"

    @property
    def checkpoints(self) -> Path:
        """Where phases keep their checkpoints."""
        return self.directory / "checkpoints"

    def log(self, phase: str, step: int, values: Mapping[str, float]) -> None:
        """One line of history.jsonl, and the same scalars for TensorBoard."""
        self.directory.mkdir(parents=True, exist_ok=True)
        with (self.directory / "history.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps({"phase": phase, "step": step, **values}) + "\n")
        if self.scalars is not None:
            for name, value in values.items():
                self.scalars.add_scalar(f"{phase}/{name}", value, step)

    def rewind(self, phase: str, step: int) -> None:
        """Take out of history.jsonl what the phase logged after `step`: a resumed run will log it again."""
        path = self.directory / "history.jsonl"
        if not path.exists():
            return
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        kept = [line for line in lines if not _logged_after(line, phase, step)]
        partial = path.with_suffix(".partial")
        partial.write_text("".join(kept), encoding="utf-8")
        partial.replace(path)

    def kept(self, name: str, of: str, choose: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """What `choose` gives, kept beside the checkpoints: a resumed run reads it in place of choosing again.

        Args:
            name: of what is chosen.
            of: a digest of all that the choice depends on; what was kept of something else is chosen again.
            choose: makes the choice.

        Raises:
            TrainingError: what was kept is damaged.

        """
        path = self.checkpoints / f"{name}.json"
        if self.resume and path.exists():
            try:
                found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            except ValueError as error:
                raise TrainingError(f"expected what {name} chose in {path}, found a damaged file: {error}") from error
            if found.get("of") == of:
                return dict(found["chosen"])
        chosen = choose()
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps({"of": of, "chosen": chosen}), encoding="utf-8")
        partial.replace(path)
        return chosen

    @contextmanager
    def bar(self, title: str, total: int) -> Iterator[Advance]:
        """A progress bar for one phase; silent where the run has no progress display."""
        if self.progress is None:
            yield lambda note="", *, steps=1: None
            return
        task = self.progress.add_task(title, total=total, note="")

        def advance(note: str = "", *, steps: int = 1) -> None:
            assert self.progress is not None
            shown: dict[str, Any] = {"note": note} if note else {}
            self.progress.update(task, advance=steps, **shown)

        try:
            yield advance
        finally:
            self.progress.update(task, total=self.progress.tasks[task].completed or 1)


def _logged_after(line: str, phase: str, step: int) -> bool:
    """Whether a line of history.jsonl is of this phase and later than `step`, or was cut off by a crash."""
    try:
        entry = json.loads(line)
    except json.JSONDecodeError:
        return True
    return bool(entry["phase"] == phase and entry["step"] > step)


def progress_display() -> Progress:
    """The trainer's progress bars, on stderr."""
    return Progress(
        TextColumn("{task.description:<28}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.fields[note]}"),
        console=Console(stderr=True),
    )
