"""Runs the reliability suite and writes tests/RELIABILITY.md: `make reliability`."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import click

from tests.reliability.results import machine, read_result, write_result

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "tests" / "RELIABILITY.md"
COUNTS = ("reads", "failed", "wrong", "writes", "refused", "acknowledged", "lost")


def run_tests() -> dict[str, Any]:
    """The whole suite, slow tests included, with what the tests wrote down."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        xml = Path(folder) / "results.xml"
        command = [sys.executable, "-m", "pytest", "-q", "tests/reliability", "tests/model_store/test_crash.py"]
        done = subprocess.run([*command, "-o", "junit_family=xunit1", f"--junitxml={xml}"], cwd=ROOT)
        suite = ElementTree.parse(xml).getroot().find("testsuite")
    assert suite is not None
    written = [entry.get("value", "") for entry in suite.iter("property") if entry.get("name") == "fault"]
    return {
        "machine": machine(),
        "minutes": round((time.monotonic() - began) / 60, 1),
        "tests": int(suite.get("tests", 0)),
        "failed_tests": int(suite.get("failures", 0)) + int(suite.get("errors", 0)),
        "skipped_tests": int(suite.get("skipped", 0)),
        "faults": [json.loads(value) for value in written],
        "status": done.returncode,
    }


def page(faults: dict[str, Any] | None, soak: dict[str, Any] | None) -> str:
    """The page, from the newest results."""
    lines = ["# Reliability, measured", "", "Written by `make reliability` and `make soak`; not edited by hand.", ""]
    lines += ["## Faults", "", *(_faults(faults) if faults else ["Not run."])]
    lines += ["", "## Soak", "", *(_soak(soak) if soak else ["Not run."])]
    return "\n".join(lines) + "\n"


def _faults(result: dict[str, Any]) -> list[str]:
    live = [entry for entry in result["faults"] if "reads" in entry]
    made_up = [entry for entry in result["faults"] if "inputs" in entry]
    total = {name: sum(entry.get(name, 0) for entry in live) for name in COUNTS}
    return [
        f"{_where(result['machine'])}. {result['tests']} tests in {result['minutes']} minutes, "
        f"{result['failed_tests']} failed, {result['skipped_tests']} skipped.",
        "",
        f"{len(live)} faults under constant load, {total['reads']:,} reads: **{total['wrong']} wrong answers**, "
        f"{total['failed']} without an answer; {total['acknowledged']:,} events acknowledged, "
        f"**{total['lost']} lost**.",
        "Every answer was compared with NumPy's exact one for the snapshot it names. A read may fail only where it was "
        "under way in a worker that was killed; a refused event is sent again.",
        "",
        "| fault | reads | failed | wrong | events kept | refused meanwhile | lost | slowest read, s |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
        *(
            f"| {entry['fault']} | {entry['reads']:,} | {entry['failed']} | {entry['wrong']} "
            f"| {entry.get('acknowledged', '')} | {entry.get('refused', entry.get('refused_reads', ''))} "
            f"| {entry.get('lost', '')} | {entry.get('slowest_seconds', '')} |"
            for entry in live
        ),
        "",
        "Besides, without load: kill -9 before every step that export, promote, rollback and prune take on the disk "
        "(`tests/model_store/test_crash.py`).",
        "",
        "| hostile input | tried | failed |",
        "| --- | ---: | ---: |",
        *(f"| {entry['fault']} | {entry['inputs']:,} | {entry['failed']} |" for entry in made_up),
    ]


def _soak(result: dict[str, Any]) -> list[str]:
    workers = [
        f"| {number} | {worker['memory_mb']} | {worker['memory_gained_mb']} in {worker['over_minutes']} minutes "
        f"| {worker['descriptors_first']} → {worker['descriptors_last']} |"
        for number, worker in enumerate(result["workers"], start=1)
    ]
    crowd = result["overload"]
    told = "; ".join(
        f"{part['count']:,} × {status}, p50 {part['p50_ms']} ms, p99 {part['p99_ms']} ms"
        for status, part in crowd.items()
        if isinstance(part, dict)
    )
    return [
        f"{_where(result['machine'])}, which the service shares with the callers; two workers, embedded state.",
        "",
        f"{result['minutes']:g} minutes at {result['rate_per_second']} requests/s, 70 % of the "
        f"{result['saturated_per_second']} that callers and service reached together just before: "
        f"{result['requests']:,} requests, of them a tenth events and a hundredth new items, and {result['swaps']} "
        f"swaps. Refused {result['refused']}, failed {sum(result['failed'].values())}, "
        f"{result['scores_compared']:,} scores compared with the exact ones, {result['wrong']} wrong. From the moment "
        f"a request was sent: {_times(result['from_sent'])}; from when it was due, waiting for one of the callers' "
        f"twelve connections included: {_times(result['from_due'])}.",
        "",
        "| worker | own memory, MB | gained in the second half | descriptors in the second half |",
        "| --- | ---: | ---: | ---: |",
        *workers,
        "",
        f"Then {crowd['connections']} connections at once without pause: {told}.",
    ]


def _times(found: dict[str, float]) -> str:
    return f"p50 {found['p50_ms']} ms, p99 {found['p99_ms']} ms, slowest {found['slowest_ms']} ms"


def _where(about: dict[str, Any]) -> str:
    return (
        f"{about['date']}, version {about['version']}, {about['cores']} cores ({about['system']}) with a load average "
        f"of {about['load_average']} from other work, Python {about['python']}"
    )


@click.command()
@click.option("--tests/--no-tests", default=True, help="Run the suite, or write the page from what was measured.")
def main(tests: bool) -> None:
    """Run, keep, write."""
    if tests:
        write_result("faults", run_tests())
    faults = read_result("faults")
    PAGE.write_text(page(faults, read_result("soak")))
    if tests and faults is not None:
        sys.exit(faults["status"])


if __name__ == "__main__":
    main()
