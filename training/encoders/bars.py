"""Progress bars for feature extraction."""

from __future__ import annotations

from rich.progress import Progress, TaskID


class StageBars:
    """One bar per modality, there from its first batch on; a `StageProgress`."""

    def __init__(self, bars: Progress) -> None:
        self._bars = bars
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, modality: str, done: int, total: int) -> None:
        """Move the modality's bar."""
        if modality not in self._tasks:
            self._tasks[modality] = self._bars.add_task(f"{modality} features", total=total, note="")
        self._bars.update(self._tasks[modality], completed=done)
