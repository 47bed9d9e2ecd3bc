"""Builds the images and takes the composed system through its life, counting what fails: `make check-docker`.

Build, start before there is a snapshot, train, publish, ask, swap and roll back under load, restart Redis, scale to
two, watch it with Prometheus, take down. Needs a Docker engine and Compose (either spelling) and nothing beyond
Python's standard library. It has a project name and volumes of its own and removes them; images and their cache stay.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.message import Message
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PROJECT = "magnet-check"
LARGEST_SERVICE_IMAGE_MB = 900
PATIENCE_SECONDS = 180  # for what takes seconds where nothing else runs
PAUSE_SECONDS = 0.02  # leaves a small machine time to train beside the load
PROMETHEUS = "prom/prometheus:v3.5.0"
TOLERANCE = 5e-6  # contributions are printed with six decimals


def main() -> None:
    """Every step in order; the first that does not hold ends it with an `AssertionError`."""
    parser = argparse.ArgumentParser(description="Take the composed system through its life.")
    parser.add_argument("--model", default="magnet", help="what is trained and served; `popularity` is swapped in")
    parser.add_argument("--threads", type=int, help="of the trainer; one is best where other work shares the cores")
    given = parser.parse_args()
    system = System()
    step("build", lambda: system.compose("build"))
    step("service image: size, no torch, no root", lambda: check_image(system))
    try:
        step("start without a snapshot: alive, not ready", lambda: start_empty(system))
        step("train on the demo catalogue, publish", lambda: train(system, given.model, given.threads))
        step("becomes ready by itself", lambda: system.until_ready(PATIENCE_SECONDS))
        step("refuses calls without a key", lambda: refuses_strangers(system))
        step("recommends and explains", lambda: recommends(system))
        step("swap to another snapshot and back under load", lambda: swaps(system))
        step("feedback, and a restart of Redis under load", lambda: restarts_redis(system))
        step("scale to two under load", lambda: scales(system))
        step("console and report", lambda: shows(system))
        step("Prometheus: both replicas scraped, rules loaded", lambda: watches(system))
    except BaseException:
        system.compose("logs", "--tail", "60")
        raise
    finally:
        system.compose("--profile", "observability", "down", "--volumes", "--remove-orphans")
    print("all steps passed")


def step(name: str, action: Callable[[], str | None]) -> None:
    """Run one step and print what it found and how long it took."""
    print(f"== {name}", flush=True)
    started = time.monotonic()
    found = action()
    print(f"   {found or 'done'} ({time.monotonic() - started:.1f} s)", flush=True)


class System:
    """The composed system on a free port, and a client of it."""

    def __init__(self) -> None:
        self.port, self.prometheus_port = free_port(), free_port()
        self.key = ""
        spoken = subprocess.run(["docker", "compose", "version"], capture_output=True).returncode == 0
        if not spoken and not shutil.which("docker-compose"):
            raise SystemExit("expected Docker with Compose (docker compose or docker-compose), found neither")
        self._compose = ["docker", "compose"] if spoken else ["docker-compose"]

    def compose(self, *arguments: str) -> None:
        """Run Compose on this project, its output shown."""
        self._run(arguments, None)

    def output(self, *arguments: str) -> str:
        """What Compose prints."""
        return self._run(arguments, subprocess.PIPE)

    def _run(self, arguments: tuple[str, ...], stdout: int | None) -> str:
        environment = {**os.environ, "PORT": str(self.port), "PROMETHEUS_PORT": str(self.prometheus_port)}
        command = [*self._compose, "-p", PROJECT, *arguments]
        return subprocess.run(command, cwd=ROOT, env=environment, check=True, text=True, stdout=stdout).stdout or ""

    def get(self, path: str, *, key: bool = True, body: Any = None) -> tuple[int, dict[str, str], Any]:
        """Status (0 where no answer came), headers and document of a GET through the gateway, or a POST of `body`."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}")
        if body is not None:
            request.data = json.dumps(body).encode()
            request.add_header("Content-Type", "application/json")
        if key:
            request.add_header("Authorization", f"Bearer {self.key}")
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return answer.status, lowered(answer.headers), json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, lowered(error.headers), json.load(error)
        except (OSError, ValueError):
            return 0, {}, None

    def ask(self, path: str) -> Any:
        """The document of a GET that has to succeed."""
        status, _, document = self.get(path)
        assert status == 200, f"GET {path}: expected 200, found {status}: {document}"
        return document

    def until(self, holds: Callable[[], bool], seconds: float, what: str) -> None:
        """Wait until something holds. Raises `AssertionError` where it does not in time."""
        deadline = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < deadline, f"expected within {seconds} s: {what}"
            time.sleep(0.5)

    def until_ready(self, seconds: float) -> None:
        """Wait until the gateway has a replica that is ready."""
        self.until(lambda: self.get("/readyz")[0] == 200, seconds, "ready")

    @contextmanager
    def load(self) -> Iterator[Counter[int]]:
        """Ask for recommendations steadily, from two threads; yields how often each status came."""
        users = self.ask("/users?limit=20")["users"]
        statuses: Counter[int] = Counter()
        stop = threading.Event()

        def ask_on() -> None:
            while not stop.is_set():
                for user in users:
                    statuses[self.get(f"/recommend/{quote(user)}?k=10")[0]] += 1
                    time.sleep(PAUSE_SECONDS)

        threads = [threading.Thread(target=ask_on) for _ in range(2)]
        for thread in threads:
            thread.start()
        try:
            yield statuses
        finally:
            stop.set()
            for thread in threads:
                thread.join()


def free_port() -> int:
    """A port of the loopback interface that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def quote(text: str) -> str:
    """`text` as one segment of a path."""
    return urllib.parse.quote(text, safe="")


def lowered(headers: Message) -> dict[str, str]:
    """Headers by their names in lower case."""
    return {name.lower(): value for name, value in headers.items()}


def check_image(system: System) -> str:
    """The promises about the service's image."""
    size = subprocess.check_output(["docker", "image", "inspect", "-f", "{{.Size}}", "magnet-service"], text=True)
    megabytes = int(size) / 1e6
    assert megabytes < LARGEST_SERVICE_IMAGE_MB, f"{megabytes:.0f} MB"
    probe = "import importlib.util, os; assert os.getuid() != 0; assert importlib.util.find_spec('torch') is None"
    subprocess.run(["docker", "run", "--rm", "--entrypoint", "python", "magnet-service", "-c", probe], check=True)
    return f"{megabytes:.0f} MB"


def start_empty(system: System) -> None:
    """Everything but the trainer is up; the service lives and says that it is not ready."""
    system.compose("up", "-d", "redis", "keys", "service", "gateway")
    system.until(lambda: system.get("/readyz")[0] == 503, PATIENCE_SECONDS, "the gateway answers")
    status, headers, problem = system.get("/readyz")
    assert (status, problem["status"]) == (503, 503)
    assert "retry-after" in headers
    system.until(lambda: healthy_replicas(system) == 1, PATIENCE_SECONDS, "a service that Docker calls healthy")
    system.key = system.output("exec", "-T", "service", "cat", "/keys/api-key").strip()
    assert len(system.key) > 30, "expected a generated key"


def train(system: System, model: str, threads: int | None) -> None:
    """The trainer's container, once: generate the demo catalogue, train, publish, promote."""
    environment = ["-e", f"OMP_NUM_THREADS={threads}"] if threads else []
    system.compose("run", "--rm", *environment, "trainer", "--model", model)


def refuses_strangers(system: System) -> None:
    """Without the key nothing but the probes answers."""
    assert system.get("/experts", key=False)[0] == 401
    assert system.get("/readyz", key=False)[0] == 200


def recommends(system: System) -> str:
    """Scores are the sums of their contributions, and explanations return the very values."""
    users = system.ask("/users?limit=20")["users"]
    items = 0
    for user in users:
        answer = system.ask(f"/recommend/{quote(user)}?k=20")
        assert answer["strategy"] == "personalised", answer["strategy"]
        for item in answer["items"]:
            total = sum(expert["contribution"] for expert in item["experts"])
            assert abs(total - item["score"]) < TOLERANCE, (user, item)
            items += 1
    first = answer["items"][0]
    asked = urllib.parse.urlencode({"recommendation_id": answer["recommendation_id"], "item": first["item"]})
    explained = system.ask(f"/explain?{asked}")
    assert explained["score"] == first["score"], (explained["score"], first["score"])
    return f"{len(users)} users, {items} items"


def swaps(system: System) -> str:
    """A second snapshot is promoted, then rolled back, and no request fails."""
    before = system.ask("/snapshot")["snapshot"]
    with system.load() as statuses:
        system.compose("run", "--rm", "trainer", "--model", "popularity")
        system.until(lambda: bool(system.ask("/snapshot")["snapshot"] != before), PATIENCE_SECONDS, "the new snapshot")
        system.compose("exec", "-T", "service", "magnet-store", "rollback", "--store", "/store")
        system.until(lambda: bool(system.ask("/snapshot")["snapshot"] == before), PATIENCE_SECONDS, "the old snapshot")
    return only_successes(statuses)


def restarts_redis(system: System) -> str:
    """An event is acknowledged and seen; Redis goes and comes, answers go on, and the event is still there."""
    user = system.ask("/users?limit=1")["users"][0]
    item = system.ask(f"/recommend/{quote(user)}?k=1")["items"][0]["item"]
    event = {"event_id": "check-1", "user": user, "item": item, "type": "purchase", "timestamp": time.time()}
    status, _, kept = system.get("/events", body={"events": [event]})
    assert (status, kept) == (200, {"accepted": 1, "duplicates": 0}), (status, kept)
    assert knows(system, user, item), "expected the event in the history at once"
    with system.load() as statuses:
        system.compose("restart", "redis")
        time.sleep(3)
    system.compose("restart", "service")  # nothing may live in the service's memory alone
    system.until_ready(PATIENCE_SECONDS)
    system.until(lambda: knows(system, user, item), 10, "the event in the history")
    assert system.get("/events", body={"events": [event]})[2] == {"accepted": 0, "duplicates": 1}
    return only_successes(statuses)


def knows(system: System, user: str, item: str) -> bool:
    """Whether a user's history begins with an item."""
    return bool(system.ask(f"/users/{quote(user)}")["history"][0]["item"] == item)


def scales(system: System) -> str:
    """A second replica joins behind the same port, and the first may go."""
    with system.load() as statuses:
        system.compose("up", "-d", "--no-recreate", "--scale", "service=2", "service")
        system.until(lambda: healthy_replicas(system) == 2, PATIENCE_SECONDS, "two healthy replicas")
        time.sleep(3)
        first = system.output("ps", "-q", "service").split()[0]
        subprocess.run(["docker", "stop", first], check=True, stdout=subprocess.DEVNULL)
        time.sleep(3)
    return only_successes(statuses)


def shows(system: System) -> str:
    """The console comes without a key, the report of the served snapshot with one."""
    with urllib.request.urlopen(f"http://127.0.0.1:{system.port}/", timeout=20) as page:
        assert b"MAGNET console" in page.read()
    assert system.get("/snapshot/report", key=False)[0] == 401
    report = urllib.request.Request(f"http://127.0.0.1:{system.port}/snapshot/report")
    report.add_header("Authorization", f"Bearer {system.key}")
    with urllib.request.urlopen(report, timeout=20) as answer:
        size = len(answer.read())
    assert size > 10_000, size
    return f"a report of {size / 1e3:.0f} kB"


def watches(system: System) -> str:
    """The profile `observability`, where its image is at hand or can be pulled."""
    at_hand = subprocess.run(["docker", "image", "inspect", PROMETHEUS], capture_output=True).returncode == 0
    if not at_hand and subprocess.run(["docker", "pull", "-q", PROMETHEUS], capture_output=True).returncode:
        return f"not checked: {PROMETHEUS} is neither here nor can it be pulled"
    both = ["--scale", "service=2", "service", "prometheus"]
    system.compose("--profile", "observability", "up", "-d", "--no-recreate", *both)
    system.until(lambda: len(scraped(system)) == 2, PATIENCE_SECONDS, "two healthy targets")
    rules = prometheus(system, "rules")["groups"]
    names = [rule["name"] for group in rules for rule in group["rules"]]
    assert names
    assert all(rule["health"] != "err" for group in rules for rule in group["rules"]), rules
    return f"{len(scraped(system))} targets up, {len(names)} rules: {', '.join(names)}"


def scraped(system: System) -> list[str]:
    """The targets that Prometheus could ask."""
    try:
        targets = prometheus(system, "targets")["activeTargets"]
    except OSError:
        return []
    return [target["scrapeUrl"] for target in targets if target["health"] == "up"]


def prometheus(system: System, what: str) -> Any:
    """What Prometheus says about itself."""
    with urllib.request.urlopen(f"http://127.0.0.1:{system.prometheus_port}/api/v1/{what}", timeout=20) as answer:
        return json.load(answer)["data"]


def healthy_replicas(system: System) -> int:
    """How many containers of the service Docker calls healthy."""
    form = "{{.State.Health.Status}}"
    replicas = system.output("ps", "-q", "service").split()
    return sum(
        subprocess.check_output(["docker", "inspect", "-f", form, replica], text=True).strip() == "healthy"
        for replica in replicas
    )


def only_successes(statuses: Counter[int]) -> str:
    """Every request was answered with 200."""
    assert set(statuses) == {200}, f"statuses (0: no answer): {dict(statuses)}"
    return f"{statuses[200]} requests, none failed"


if __name__ == "__main__":
    main()
