"""Constant load on a service over real connections, every answer compared with the exact one.

Readers ask for recommendations and explanations; writers click one item after the other for users of their own and
send the same event again until it is acknowledged. Nothing is asserted here: a tally says what happened.
"""

from __future__ import annotations

import http.client
import json
import random
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlsplit

from tests.support.exact import TOLERANCE, Exact

FRESH_SECONDS = 1.5
"""Every worker shows an acknowledged event after a second; half a second more for a busy machine."""
TIMEOUT_SECONDS = 20.0
K = 5


@dataclass
class Clicks:
    """What a writer sent for one user."""

    items: list[str] = field(default_factory=list)
    """In order; the last one may not be acknowledged."""
    acknowledged: list[tuple[str, float]] = field(default_factory=list)
    """Event ids and when they were acknowledged (monotonic seconds)."""


@dataclass
class Tally:
    """What happened."""

    reads: int = 0
    failed: list[str] = field(default_factory=list)
    """Reads without an answer."""
    wrong: list[str] = field(default_factory=list)
    degraded: int = 0
    """Answers that said they had to do without something."""
    writes: int = 0
    refused: int = 0
    """Writes that were not acknowledged, and sent again."""
    seconds: list[float] = field(default_factory=list)
    """How long each read took."""
    snapshots: set[str] = field(default_factory=set)

    def quantile(self, share: float) -> float:
        """Seconds within which this share of the reads was answered."""
        ordered = sorted(self.seconds)
        return ordered[min(int(share * len(ordered)), len(ordered) - 1)] if ordered else 0.0


class Load:
    """A context in which the load runs."""

    def __init__(
        self,
        address: str,
        exact: Mapping[str, Exact],
        readers: Sequence[str],
        writers: Sequence[str] = (),
        *,
        n_readers: int = 3,
        pause: float = 0.004,
    ) -> None:
        """`readers` are users who only read, `writers` users who click as well; `pause` seconds between requests."""
        self._place = urlsplit(address)
        self._exact = exact
        self._readers, self._writers = list(readers), list(writers)
        self._pause = pause
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._run = f"{time.time_ns():x}"
        self.clicks = {user: Clicks() for user in self._writers}
        self.tally = Tally()
        self._threads = [threading.Thread(target=self._read, args=(number,)) for number in range(n_readers)]
        if self._writers:
            self._threads.append(threading.Thread(target=self._write))

    @property
    def connections(self) -> int:
        """How many requests can be under way at once."""
        return len(self._threads)

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def acknowledged(self) -> set[str]:
        """Ids of every event that was acknowledged."""
        return {event_id for clicks in self.clicks.values() for event_id, _ in clicks.acknowledged}

    def _read(self, number: int) -> None:
        chance = random.Random(number)
        connection = self._connect()
        while not self._stopping.is_set():
            user = chance.choice(self._readers + self._writers)
            clicks = self.clicks.get(user, Clicks())
            asked = time.monotonic()
            must_show = sum(when < asked - FRESH_SECONDS for _, when in clicks.acknowledged)
            explains = user not in self.clicks and chance.random() < 0.2
            item = chance.choice(self._known_items()) if explains else ""
            path = (
                f"/explain?user={quote(user, safe='')}&item={quote(item, safe='')}"
                if explains
                else f"/recommend/{quote(user, safe='')}?k={K}"
            )
            try:
                status, headers, body = self._ask(connection, "GET", path)
                problem = None if status == 200 else f"{path}: {status} {body[:300]!r}"
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                connection = self._connect()
                problem = f"{path}: {type(error).__name__} {error}"
            with self._lock:
                self.tally.reads += 1
                self.tally.seconds.append(time.monotonic() - asked)
                if problem is not None:
                    self.tally.failed.append(problem)
            if problem is None:
                self._judge(path, json.loads(body), headers, user, clicks, must_show, item)
            self._stopping.wait(self._pause)
        connection.close()

    def _judge(
        self, path: str, answer: Any, headers: Mapping[str, str], user: str, clicks: Clicks, must_show: int, item: str
    ) -> None:
        named = answer["snapshot"]
        exact = self._exact.get(named)
        if exact is None or headers.get("x-snapshot-id") != named:
            complaint: str | None = f"from snapshot {named}, header {headers.get('x-snapshot-id')}"
        elif item:
            row = exact.snapshot.item_row(item)
            score = float(exact.unfiltered(user, ())[row]) if row is not None else float("nan")
            complaint = None if abs(score - answer["score"]) <= TOLERANCE else f"{answer['score']}, expected {score}"
        else:
            used, without = answer["events_used"], "events" in answer["degraded"]
            complaint = None
            if answer["strategy"] != "popular":  # which draws some of its items
                complaint = exact.complaint(answer, user, tuple(clicks.items[:used]), K)
            elif used or exact.history(user):
                complaint = "popular items for somebody with a history"
            if used > len(clicks.items) or (used < must_show and not without):
                complaint = f"{used} events used of {must_show} to {len(clicks.items)}"
        with self._lock:
            self.tally.snapshots.add(named)
            self.tally.degraded += bool(answer.get("degraded"))
            if complaint is not None:
                self.tally.wrong.append(f"{path}: {complaint}")

    def _write(self) -> None:
        connection = self._connect()
        chance = random.Random(99)
        while not self._stopping.is_set():
            user = chance.choice(self._writers)
            clicks = self.clicks[user]
            fresh = self._fresh_item(user, chance)
            if fresh is None:
                self._stopping.wait(0.1)
                continue
            clicks.items.append(fresh)
            event_id = f"{self._run}-{user}-{len(clicks.items)}"
            event = {"event_id": event_id, "user": user, "item": fresh, "type": "click", "timestamp": time.time()}
            body = json.dumps({"events": [event]})
            while True:
                try:
                    status, _, _ = self._ask(connection, "POST", "/events", body)
                except (OSError, http.client.HTTPException):
                    connection.close()
                    connection = self._connect()
                    status = 0
                with self._lock:
                    self.tally.writes += 1
                    self.tally.refused += status != 200
                if status == 200:
                    clicks.acknowledged.append((event_id, time.monotonic()))
                    break
                if self._stopping.wait(0.02):
                    break
            self._stopping.wait(self._pause)
        connection.close()

    def _known_items(self) -> list[str]:
        snapshot = next(iter(self._exact.values())).snapshot
        return [snapshot.item_id(row) for row in range(snapshot.n_items)]

    def _fresh_item(self, user: str, chance: random.Random) -> str | None:
        """An item that the user has not clicked and that no snapshot knows of the user."""
        seen = {*self.clicks[user].items, *(item for exact in self._exact.values() for item in exact.history(user))}
        fresh = [item for item in self._known_items() if item not in seen]
        return chance.choice(fresh) if len(fresh) > 2 * K else None

    def _connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(str(self._place.hostname), self._place.port, timeout=TIMEOUT_SECONDS)

    def _ask(
        self, connection: http.client.HTTPConnection, method: str, path: str, body: str | None = None
    ) -> tuple[int, Mapping[str, str], bytes]:
        connection.request(method, path, body, {"Content-Type": "application/json"} if body else {})
        response = connection.getresponse()
        return response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()
