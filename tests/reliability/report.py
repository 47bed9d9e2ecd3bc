"""Runs the reliability suite and writes tests/RELIABILITY.md: `make reliability`."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import click

from tests.reliability.record import machine, read_result, write_result

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "tests" / "RELIABILITY.md"


def _files(*names: str) -> list[str]:
    return [f"tests/reliability/test_{name}.py" for name in names]


PARTS = {
    "faults": ("Faults under load", _files("redis_faults", "service_faults", "clock", "overload")),
    "hostile": ("Hostile input", _files("hostile_files", "hostile_requests")),
    "openapi": ("Calls made up from the OpenAPI document", _files("openapi")),
    "others": (
        "Crashes at every step, keys, leaks, forgetting",
        [*_files("keys", "leaks", "privacy"), "tests/model_store/test_crash.py"],
    ),
}
"""What is run together: a title, and the files of its tests."""
COUNTS = ("reads", "failed", "wrong", "writes", "refused", "acknowledged", "lost")


def run_part(files: Sequence[str]) -> dict[str, Any]:
    """Tests of the suite, slow ones included, with what they wrote down."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        xml = Path(folder) / "results.xml"
        command = [sys.executable, "-m", "pytest", "-q", *files, "-o", "junit_family=xunit1", f"--junitxml={xml}"]
        subprocess.run(command, cwd=ROOT)
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
    }


def page(parts: dict[str, dict[str, Any] | None], soak: dict[str, Any] | None) -> str:
    """The page, from the newest results."""
    lines = ["# Reliability, measured", "", "Written by `make reliability` and `make soak`; not edited by hand.", ""]
    for name, result in parts.items():
        lines += [f"## {PARTS[name][0]}", "", *(_part(result) if result else ["Not run."]), ""]
    lines += ["## Soak", "", *(_soak(soak) if soak else ["Not run."])]
    return "\n".join(lines) + "\n"


def _part(result: dict[str, Any]) -> list[str]:
    lines = [
        f"{_where(result['machine'])}. {result['tests']} tests in {result['minutes']} minutes, "
        f"{result['failed_tests']} failed, {result['skipped_tests']} skipped."
    ]
    live = [entry for entry in result["faults"] if "reads" in entry]
    made_up = [entry for entry in result["faults"] if "inputs" in entry]
    if live:
        lines += ["", *_faults(live)]
    if made_up:
        rows = [f"| {entry['fault']} | {entry['inputs']:,} | {entry['failed']} |" for entry in made_up]
        lines += ["", "| hostile input | tried | failed |", "| --- | ---: | ---: |", *rows]
    return lines


def _faults(live: list[dict[str, Any]]) -> list[str]:
    total = {name: sum(entry.get(name, 0) for entry in live) for name in COUNTS}
    return [
        f"{len(live)} faults under constant load, {total['reads']:,} reads: **{total['wrong']} wrong answers**, "
        f"{total['failed']} without an answer; {total['acknowledged']:,} events acknowledged, "
        f"**{total['lost']} lost**.",
        "Every answer but the overload's was compared with NumPy's exact one for the snapshot it names. A read may "
        "fail only where it was under way in a worker that was killed; a refused event is sent again.",
        "",
        "| fault | reads | failed | wrong | events kept | refused meanwhile | lost | slowest read, s |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
        *(
            f"| {entry['fault']} | {entry['reads']:,} | {entry['failed']} | {entry['wrong']} "
            f"| {entry.get('acknowledged', '')} | {entry.get('refused', entry.get('refused_reads', ''))} "
            f"| {entry.get('lost', '')} | {entry.get('slowest_seconds', '')} |"
            for entry in live
        ),
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
        f"{result['requests']:,} requests, of them a tenth events, a hundredth new items and a thousandth users to "
        f"forget, and {result['swaps']} swaps. Refused {result['refused']}, failed {sum(result['failed'].values())}, "
        f"{result['scores_compared']:,} scores compared with the exact ones, {result['wrong']} wrong. From the moment "
        f"a request was sent: {_times(result['from_sent'])}; of those sent within "
        f"{result['around_seconds']:g} s of the beginning of a swap: "
        f"{_times(result['from_sent_around_swaps'])}; from when it was due, waiting for one of the callers' "
        f"twelve connections included: {_times(result['from_due'])}.",
        *(
            ["Other work took so much of the machine meanwhile that the callers fell behind their schedule."]
            * _late(result)
        ),
        "",
        "| worker | own memory written, MB | gained in the second half | descriptors in the second half |",
        "| --- | ---: | ---: | ---: |",
        *workers,
        "",
        f"Then {crowd['connections']} connections at once without pause: {told}.",
    ]


def _late(result: dict[str, Any]) -> bool:
    return bool(result["from_due"]["p50_ms"] > 5 * result["from_sent"]["p50_ms"])


def _times(found: dict[str, float]) -> str:
    return f"p50 {found['p50_ms']} ms, p99 {found['p99_ms']} ms, slowest {found['slowest_ms']} ms"


def _where(about: dict[str, Any]) -> str:
    return (
        f"{about['date']}, version {about['version']}, {about['cores']} cores ({about['system']}) with a load average "
        f"of {about['load_average']} from other work, Python {about['python']}"
    )


@click.command()
@click.option(
    "--part", "wanted", type=click.Choice(list(PARTS)), multiple=True, default=list(PARTS), help="Repeatable."
)
@click.option("--tests/--no-tests", default=True, help="Run the suite, or write the page from what was measured.")
def main(wanted: Sequence[str], tests: bool) -> None:
    """Run, keep, write."""
    failed = 0
    for name in wanted if tests else ():
        result = run_part(PARTS[name][1])
        write_result(name, result)
        failed += result["failed_tests"]
    PAGE.write_text(page({name: read_result(name) for name in PARTS}, read_result("soak")))
    sys.exit(min(failed, 1))


if __name__ == "__main__":
    main()
