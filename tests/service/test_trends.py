"""Popularity follows the news: right for every view of the live items, and never counted on the event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

from model_store.events import Event
from service.state.protocol import DailyCount
from service.trends import PERIOD_SECONDS, SECONDS_PER_DAY
from tests.support.service_client import ServiceClient, in_process, promoted
from tests.support.tiny_snapshot import FEATURE_WIDTH, write_tiny_pair_snapshot

pytestmark = pytest.mark.anyio
N_ITEMS = 2000
DAYS = 10
LOOP_SECONDS = 0.005
"""Longer than this nothing may hold up the event loop."""
HALF_LIFE_DAYS = 7.0
FEATURES = {"features": {"visual": [1.0] * FEATURE_WIDTH, "textual": [-1.0] * FEATURE_WIDTH}}


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    root = tmp_path_factory.mktemp("store")
    first, second = [write_tiny_pair_snapshot(root, n_items=N_ITEMS, seed=seed) for seed in (0, 1)]
    return root, promoted(root, first), second


@pytest.fixture
async def client(two: tuple[Path, str, str], tmp_path: Path) -> AsyncIterator[ServiceClient]:
    root, first, _ = two
    promoted(root, first)
    async with in_process(root, state=tmp_path / "state", popular_half_life_days=HALF_LIFE_DAYS) as client:
        yield client


async def test_counts_hold_for_every_view_of_the_items(client: ServiceClient) -> None:
    """served + 3 * 0.5^(1.25 / 7) + 2 * 0.5^(0.25 / 7): days count from their middle."""
    service = client.service
    now = 20_000 * SECONDS_PER_DAY + 0.75 * SECONDS_PER_DAY
    expected = 3 * 0.5 ** (1.25 / HALF_LIFE_DAYS) + 2 * 0.5 ** (0.25 / HALF_LIFE_DAYS)
    items = ("item/001", "fresh", "nowhere")
    await client.put("/items/fresh", json=FEATURES)
    for item in items:
        ages = [1.0] * 3 + [0.0] * 2
        await service.mirror.append(
            [
                Event(event_id=f"{item} {number}", user="u", item=item, type="click", timestamp=now - age * 86400)
                for number, age in enumerate(ages)
            ]
        )
    await service.trends.renew(now)
    period = int(now // PERIOD_SECONDS)
    assert service.trends.period == period
    for hide in (None, "item/002", "item/001"):
        if hide is not None:
            await client.delete("/items/" + hide.replace("/", "%2F"))
        view = service.view()
        assert view is not None
        found = service.trends.popularity(view, period)
        before = np.append(view.served.popularity, [0])
        row, fresh = view.item_row("item/001"), view.item_row("fresh")
        assert row is not None
        assert fresh is not None
        both = [row, fresh]
        assert found.shape == (view.n_items,)
        assert found.dtype == np.float32
        assert found[row] == pytest.approx(before[row] + expected, rel=1e-6)
        assert found[fresh] == pytest.approx(expected, rel=1e-6)
        others = np.delete(np.arange(view.n_items), both)
        assert np.array_equal(found[others], before[others])
    await service.trends.renew(now + PERIOD_SECONDS)
    view = service.view()
    assert view is not None
    assert np.array_equal(service.trends.popularity(view, period), found)  # pages fit together
    assert (service.trends.popularity(view, period + 1)[both] < found[both]).all()


async def test_neither_an_edit_nor_a_swap_counts_on_the_event_loop(
    client: ServiceClient, two: tuple[Path, str, str]
) -> None:
    service, now = client.service, time.time()
    served = service.deployment.require()
    for day in range(DAYS):
        at = now - day * SECONDS_PER_DAY
        await service.mirror.append(
            [
                Event(
                    event_id=f"{day} {row}",
                    user=f"u{row}",
                    item=served.snapshot.item_id(row),
                    type="click",
                    timestamp=at,
                )
                for row in range(N_ITEMS)
            ]
        )
    await service.trends.renew(now)
    changes = (
        lambda: client.delete("/items/item%2F004"),
        lambda: service.watcher.activate(two[2]),
        lambda: service.trends.renew(now + PERIOD_SECONDS),
    )
    for change in changes:
        await change()
        view = service.view()
        assert view is not None
        began = time.thread_time()
        found = service.trends.popularity(view, service.trends.period)
        assert time.thread_time() - began < LOOP_SECONDS
        assert found.sum() > view.served.popularity.sum() + N_ITEMS


async def test_a_swap_does_not_wait_for_a_slow_store(
    client: ServiceClient, two: tuple[Path, str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    service, answered = client.service, asyncio.Event()

    async def slow(_first: int, _last: int) -> list[DailyCount]:
        await answered.wait()
        return [DailyCount("item/001", int(time.time() // SECONDS_PER_DAY), 7)]

    monkeypatch.setattr(service.mirror.store, "daily_counts", slow)
    renewing = asyncio.ensure_future(service.trends.renew(time.time()))
    async with asyncio.timeout(30):
        await service.watcher.activate(two[2])
    assert service.deployment.require().id == two[2]
    assert not renewing.done()
    answered.set()
    await renewing
    view = service.view()
    assert view is not None
    found = service.trends.popularity(view, service.trends.period)
    assert found.sum() > view.served.popularity.sum() + 5  # counted for the snapshot that came meanwhile
