"""What every state store must do; an implementation's tests inherit this and provide `store` and `reopened`."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod

import pytest

from model_store.events import Event, Feedback, Forgotten
from service.state.protocol import NO_EVENTS, StateStore
from tests.support.events import NOON, event

DAY = 86400


class StateStoreContract(ABC):
    """Inherit, and give `open_store` something that always opens the same, at first empty, state."""

    @abstractmethod
    def open_store(self) -> StateStore:
        """Another handle on the state of this test, not yet started."""

    @pytest.fixture
    async def store(self):  # type: ignore[no-untyped-def]
        store = self.open_store()
        await store.start()
        yield store
        await store.stop()

    async def events_in(self, store: StateStore, user_id: str) -> list[Event]:
        return [kept.event for kept in (await store.events_of(user_id)).events]

    def told(self, entry: Feedback) -> str:
        return f"{entry.forgotten} forgotten" if isinstance(entry, Forgotten) else f"{entry.user} took {entry.item}"

    async def test_events_come_back_in_order_and_whole(self, store: StateStore) -> None:
        first = event("user/ü 1", "item/☃", "rating", value=4.5, recommendation_id="r")
        second = event("user/ü 1", "item/2", timestamp=NOON - DAY)
        assert await store.append([first, second]) == 2
        assert await self.events_in(store, "user/ü 1") == [first, second]
        assert await store.events_of("nobody") == NO_EVENTS

    async def test_users_are_everybody_there_is_anything_about(self, store: StateStore) -> None:
        names = {f"user/{number} ☃*" for number in range(1200)}
        await store.append([event(name, item) for name in sorted(names) for item in ("i", "j")])
        await store.forget("user/7 ☃*")
        await store.forget("never heard of")
        assert {name async for found in store.users() for name in found} == names | {"never heard of"}

    async def test_an_event_id_counts_once(self, store: StateStore) -> None:
        first = event("u", "i", event_id="same")
        assert await store.append([first, event("u", "j", event_id="same"), event("u", "k")]) == 2
        assert await store.append([event("v", "i", event_id="same")]) == 0
        assert [e.item for e in await self.events_in(store, "u")] == ["i", "k"]
        assert await self.events_in(store, "v") == []

    async def test_versions_grow_with_every_event(self, store: StateStore) -> None:
        await store.append([event("u", "i")])
        before = (await store.events_of("u")).version
        await store.append([event("v", "i")])
        await store.append([event("u", "i")])
        events = await store.events_of("u")
        versions = [kept.version for kept in events.events]
        assert versions == sorted(set(versions))
        assert events.version == versions[-1] > before > 0

    async def test_what_was_acknowledged_survives_reopening(self, store: StateStore) -> None:
        kept = event("u", "i")
        await store.append([kept])
        await store.put_item("new", b"content")
        await store.hide_item("old")
        again = self.open_store()
        await again.start()
        try:
            assert await self.events_in(again, "u") == [kept]
            items = {item.item_id: item for item in (await again.changes(0)).items}
            assert (items["new"].hidden, items["new"].content) == (False, b"content")
            assert (items["old"].hidden, items["old"].content) == (True, None)
        finally:
            await again.stop()

    async def test_two_handles_see_each_other(self, store: StateStore) -> None:
        other = self.open_store()
        await other.start()
        try:
            version = (await other.changes(0)).version
            await store.append([event("u", "i"), event("v", "i")])
            await store.hide_item("i")
            changes = await other.changes(version)
            assert changes.users == {"u", "v"}
            assert [item.item_id for item in changes.items] == ["i"]
            assert not changes.everything
            quiet = await other.changes(changes.version)
            assert (quiet.users, quiet.items, quiet.version) == (frozenset(), (), changes.version)
        finally:
            await other.stop()

    async def test_many_writers_at_once_lose_nothing(self, store: StateStore) -> None:
        other = self.open_store()
        await other.start()
        try:
            writers = (
                handle.append([event(f"user-{number % 7}", f"item-{number}")])
                for number in range(60)
                for handle in (store, other)
            )
            assert sum(await asyncio.gather(*writers)) == 120
            found = [kept for user in range(7) for kept in (await store.events_of(f"user-{user}")).events]
            assert len({kept.version for kept in found}) == 120
        finally:
            await other.stop()

    async def test_items_change_and_keep_their_newest_form(self, store: StateStore) -> None:
        first = await store.put_item("i", b"one")
        second = await store.put_item("i", b"two")
        hidden = await store.hide_item("i")
        shown = await store.put_item("i", b"three")
        assert first.version < second.version < hidden.version < shown.version
        assert (hidden.hidden, hidden.content, shown.hidden) == (True, b"two", False)
        assert (await store.changes(second.version)).items == (shown,)

    async def test_forgetting_removes_events_and_leaves_a_tombstone(self, store: StateStore) -> None:
        await store.append([event("u", "i"), event("v", "i")])
        version = (await store.changes(0)).version
        assert (await store.changes(version - 1)).forgotten == frozenset()
        await store.forget("u")
        gone = await store.events_of("u")
        assert gone.events == ()
        assert gone.forgotten_at > 0
        changes = await store.changes(version)
        assert changes.users == changes.forgotten == {"u"}
        assert (await store.changes(0)).forgotten == {"u"}
        assert [self.told(entry) async for entry in store.export()] == ["v took i", "u forgotten"]
        after = event("u", "j")
        await store.append([after])
        again = await store.events_of("u")
        assert [kept.event for kept in again.events] == [after]
        assert again.forgotten_at == gone.forgotten_at
        assert again.version > gone.forgotten_at
        told = [self.told(entry) async for entry in store.export()]
        assert told == ["v took i", "u forgotten", "u took j"]

    async def test_forgetting_takes_the_user_out_of_the_counts(self, store: StateStore) -> None:
        day = int(NOON // DAY)
        first = event("u", "i", timestamp=NOON)
        both = [first, event("v", "i", timestamp=NOON), event("u", "j", timestamp=NOON), event("u", "k", "hide")]
        await store.append(both)
        await store.forget("u")
        counts = await store.daily_counts(day, day)
        assert [(count.item_id, count.count) for count in counts] == [("i", 1)]
        assert await store.append([first]) == 1  # an id that is gone may come again

    async def test_daily_counts_hold_positive_events_only(self, store: StateStore) -> None:
        day = int(NOON // DAY)
        start = day * DAY
        await store.append(
            [
                event("u", "i", timestamp=start + 1.0),
                event("v", "i", "purchase", timestamp=start + 2.0),
                event("w", "i", "dislike", timestamp=start + 3.0),
                event("w", "j", "rating", value=2.0, timestamp=start + 3.0),
                event("w", "k", "rating", value=3.5, timestamp=start + 3.0),
                event("w", "i", timestamp=start + DAY + 1.0),
                event("w", "i", timestamp=start - 1.0),
                event("w", "late", timestamp=start + 2.5 * DAY),
            ]
        )
        counts = await store.daily_counts(day, day + 1)
        found = sorted((count.item_id, count.day - day, count.count) for count in counts)
        assert found == [("i", 0, 2), ("i", 1, 1), ("k", 0, 1)]

    async def test_daily_counts_of_many_items(self, store: StateStore) -> None:
        """More than one block's worth, in which every item counts once."""
        day = int(NOON // DAY)
        many = {f"item-{number}": 1 + number % 2 for number in range(2500)}
        await store.append([event("u", item, timestamp=NOON) for item in many])
        await store.append([event("v", item, timestamp=NOON) for item, count in many.items() if count == 2])
        counts = await store.daily_counts(day - 1, day + 1)
        assert sorted((count.item_id, count.day, count.count) for count in counts) == sorted(
            (item, day, count) for item, count in many.items()
        )

    async def test_export_is_everything_in_order(self, store: StateStore) -> None:
        events = [event("u", f"item-{number}") for number in range(1500)]
        await store.append(events[:1000])
        await store.append(events[1000:])
        exported = [self.told(entry) async for entry in store.export()]
        assert exported == [f"u took {kept.item}" for kept in events]
