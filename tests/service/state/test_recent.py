"""What is kept of users in memory is bounded, however many there are and however much each of them did."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.state.embedded import EmbeddedState
from service.state.mirror import Mirror
from service.state.protocol import NO_EVENTS, KeptEvent, UserEvents
from service.state.recent import RecentUsers
from tests.support.events import event


def events_of(user: str, count: int) -> UserEvents:
    return UserEvents(tuple(KeptEvent(version, event(user, f"item {version}")) for version in range(1, count + 1)))


def test_bounded_by_users() -> None:
    users = RecentUsers(max_users=3, max_events=100)
    for user in "abcd":
        users.put(user, NO_EVENTS)
    assert [user for user in "abcd" if users.get(user) is not None] == ["b", "c", "d"]


def test_bounded_by_events() -> None:
    users = RecentUsers(max_users=100, max_events=10)
    for user in "abc":
        users.put(user, events_of(user, 3))
    users.move_to_end("a")
    users.put("d", events_of("d", 4))  # 3 + 3 + 3 + 4 = 13: the one who was not asked about for longest leaves
    assert users.get("b") is None
    assert (len(users), users.events) == (3, 10)
    users.put("a", events_of("a", 1))
    users.pop("c")
    users.pop("nobody")
    assert (len(users), users.events) == (2, 5)
    users.clear()
    assert (len(users), users.events) == (0, 0)


def test_whoever_did_more_than_all_that_is_kept_is_kept_alone() -> None:
    users = RecentUsers(max_users=100, max_events=10)
    users.put("a", events_of("a", 2))
    users.put("b", events_of("b", 50))
    assert (users.get("a"), len(users), users.events) == (None, 1, 50)


@pytest.mark.anyio
async def test_who_left_memory_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mirror = Mirror(EmbeddedState(tmp_path, shared=False))
    monkeypatch.setattr(mirror, "_users", RecentUsers(max_events=10))
    await mirror.catch_up()
    try:
        for user in "abc":
            await mirror.append([event(user, f"item {number}", event_id=f"{user}{number}") for number in range(6)])
            assert len((await mirror.events_of(user)).events) == 6
        assert (mirror.peek("a"), mirror.peek("b")) == (None, None)
        assert mirror.peek("c") is not None
        assert len((await mirror.events_of("a")).events) == 6
    finally:
        await mirror.stop()
