"""Kills a process at every step of a store action in turn, and reports what it left behind.

Run as a script, `crash_points.py ACTION WORKDIR`: one process imports everything and forks a child per step, which
kills itself (SIGKILL) before its n-th step. A step is whatever changes the disk: every call that Python audits as
opening for writing, renaming, removing, making a folder, changing modes or times, and every fsync.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from model_store import Store, StoreError
from tests.support.tiny_snapshot import write_tiny_popularity_snapshot

STEPS = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.chmod", "os.utime", "os.truncate"}


def export(root: Path) -> None:
    write_tiny_popularity_snapshot(root, seed=7)


def promote(root: Path) -> None:
    Store(root).promote(newest(root))


def rollback(root: Path) -> None:
    Store(root).rollback()


def prune(root: Path) -> None:
    Store(root).prune(keep=0)


ACTIONS = {"export": export, "promote": promote, "rollback": rollback, "prune": prune}


def newest(root: Path) -> str:
    """The snapshot of `prepare` that was never promoted."""
    return (root / "newest").read_text()


def prepare(root: Path, action: str) -> None:
    """A store in which the second of three snapshots is current; for an export, one with a single snapshot."""
    for seed in (1, 2) if action != "export" else (1,):
        Store(root).promote(write_tiny_popularity_snapshot(root, seed=seed))
    if action != "export":
        (root / "newest").write_text(write_tiny_popularity_snapshot(root, seed=3))


def die_before(step: int, seen: list[int]) -> None:
    """Count this process's steps in `seen[0]`; die before the one numbered `step`."""

    def count() -> None:
        if seen[0] == step:
            os.kill(os.getpid(), signal.SIGKILL)
        seen[0] += 1

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        opens = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        if opens or event in STEPS:
            count()

    fsync = os.fsync

    def counted(descriptor: int) -> None:
        count()
        fsync(descriptor)

    os.fsync = counted  # type: ignore[assignment]  # the one step that Python does not audit
    sys.addaudithook(hook)


def in_child(do: Callable[[], None]) -> bool:
    """Run in a forked process; whether it ended well. False if it was killed, an exception is re-raised as such."""
    child = os.fork()
    if child == 0:
        try:
            do()
            os._exit(0)
        except BaseException:
            sys.excepthook(*sys.exc_info())
            os._exit(1)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return False
    if os.WEXITSTATUS(status):
        raise SystemExit("the action failed by itself")
    return True


def again(action: str, root: Path) -> None:
    """What an operator does next: the same once more, then clean up."""
    if action != "rollback":  # which would go further back
        ACTIONS[action](root)
    Store(root).prune(keep=9)


def state(root: Path) -> dict[str, object]:
    """What a reader sees; opening and listing verify every byte."""
    store = Store(root)
    problems = []
    for entry in store.snapshots():
        try:
            store.verify(entry.snapshot)
        except StoreError as error:
            problems.append(str(error))
    current = store.open().id
    return {"current": current, "snapshots": len(store.snapshots()), "problems": problems}


def main(action: str, work: Path) -> None:
    """Print one JSON object per step: the state after the crash, and after the same was done again and pruned."""
    do, template, root = ACTIONS[action], work / "template", work / "store"
    in_child(lambda: prepare(template, action))
    print(json.dumps({"step": None, "after": state(template)}))
    step, finished = 0, False
    while not finished:
        shutil.copytree(template, root)

        def run(step: int = step) -> None:
            die_before(step, [0])
            do(root)

        finished = in_child(run)
        after = state(root)
        in_child(lambda: again(action, root))
        left = [path.name for path in (*root.glob("staging/*"), *root.glob(".*"))]
        print(json.dumps({"step": step, "finished": finished, "after": after, "again": state(root), "left": left}))
        shutil.rmtree(root)
        step += 1


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
