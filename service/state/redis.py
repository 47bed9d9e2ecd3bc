"""State in Redis, shared by workers and replicas.

Durable keys, without a time to live: `log`, a stream with every event (`u` user, `e` event, `d` day where it counts)
and every note of a change (`u` forgotten user, `i` item and `t` when), its ids the versions;
`user:<id>`, the versions of a user's events; `event_ids`; `items`; `forgotten`; `day:<n>`, positive events per item;
`epoch`, a random word that a Redis which lost its memory no longer has. Caches, with one: `answer:<id>`.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncIterator, Sequence, Set
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from redis.asyncio import BlockingConnectionPool, Redis
from redis.exceptions import RedisError

from model_store.events import Event, Feedback, Forgotten
from service.errors import StateUnavailable
from service.state.answers import may_come_within
from service.state.protocol import NO_EVENTS, Changes, DailyCount, KeptEvent, LiveItem, StateStore, UserEvents
from service.state.redis_scripts import APPEND, EVENTS_OF, FORGET, KEEP_ANSWERS, REMEMBER, SET_ITEM
from service.state.tombstones import Tombstones

TIMEOUT_SECONDS = 1.0
MOST_CONNECTIONS = 16
DAY_TTL_SECONDS = 400 * 86400
BLOCK = 1000
FLUSH_SECONDS = 0.02
MOST_WAITING = 2000
MOST_AT_ONCE = 256
"""Of how many users one call asks: Redis does nothing else meanwhile."""
SECONDS_PER_DAY = 86400


class RedisState(StateStore):
    """State in the Redis at `url`, under keys that begin with `prefix`."""

    name = "redis"
    shares_answers = True

    def __init__(self, url: str, prefix: str = "magnet:", tombstones: Tombstones | None = None) -> None:
        """`tombstones` survive a loss of Redis's disk."""
        self._prefix = prefix
        self._tombstones = tombstones
        pool = BlockingConnectionPool.from_url(
            url,
            max_connections=MOST_CONNECTIONS,
            timeout=TIMEOUT_SECONDS,
            socket_timeout=TIMEOUT_SECONDS,
            socket_connect_timeout=TIMEOUT_SECONDS,
            retry=None,
        )
        self._redis = Redis.from_pool(pool)
        self._append = self._redis.register_script(APPEND)
        self._events_of = self._redis.register_script(EVENTS_OF)
        self._keep_answers = self._redis.register_script(KEEP_ANSWERS)
        self._forget = self._redis.register_script(FORGET)
        self._remember = self._redis.register_script(REMEMBER)
        self._set_item = self._redis.register_script(SET_ITEM)
        self._epoch: bytes | None = None
        self._told: tuple[bytes, dict[bytes, bytes]] | None = None
        """The newest entry of the log, as of the changes that were told last."""
        self._waiting: list[tuple[str, float, str | None, bytes]] = []
        self._flushing: asyncio.Task[None] | None = None
        self._wanted: list[tuple[str, asyncio.Future[UserEvents]]] = []
        self._reading: asyncio.Task[None] | None = None
        self._losses: list[str] = []
        self.warnings: list[str] = []

    async def start(self) -> None:
        """See `StateStore.start`."""
        await self._asked(self._redis.set(self._key("epoch"), secrets.token_hex(8), nx=True))
        await self._asked(self._redis.set(self._key("version"), 1, nx=True))  # so that 0 lies before everything
        self._epoch = await self._asked(self._redis.get(self._key("epoch")))
        users = sorted(await self.remembered())
        for start in range(0, len(users), MOST_AT_ONCE):
            await self._asked(self._remember(args=[self._prefix, *users[start : start + MOST_AT_ONCE]]))
        self.warnings = [*self._losses, *await self._doubts()]

    async def stop(self) -> None:
        """See `StateStore.stop`."""
        if self._flushing is not None:
            await self._flushing
        await self._redis.aclose()

    async def append(self, events: Sequence[Event]) -> int:
        """See `StateStore.append`: one script, so all or none. Durable as far as Redis's append-only file is."""
        arguments: list[str | bytes] = [self._prefix, str(DAY_TTL_SECONDS)]
        for event in events:
            day = str(int(event.timestamp // SECONDS_PER_DAY)) if event.is_positive else ""
            body = event.model_dump_json(exclude_none=True)
            arguments += [event.event_id, event.user, event.item, day, body]
        return int(await self._asked(self._append(args=arguments)))

    async def events_of(self, user_id: str) -> UserEvents:
        """See `StateStore.events_of`."""
        future: asyncio.Future[UserEvents] = asyncio.get_running_loop().create_future()
        self._wanted.append((user_id, future))
        if self._reading is None or self._reading.done():
            self._reading = asyncio.get_running_loop().create_task(self._read_together())
        return await future

    async def users(self) -> AsyncIterator[list[str]]:
        """See `StateStore.users`: a walk over all keys, which holds nobody up."""
        begins = self._key("user:")
        cursor = 0
        while True:
            walk = self._redis.scan(cursor, match=_literally(begins) + "*", count=BLOCK)
            cursor, keys = await self._asked(walk)
            yield [key.decode()[len(begins) :] for key in keys]
            if cursor == 0:
                break
        yield [user.decode() for user in await self._asked(self._redis.hkeys(self._key("forgotten")))]

    async def forget(self, user_id: str) -> None:
        """See `StateStore.forget`."""
        await self._asked(self._forget(args=[self._prefix, user_id]))
        if self._tombstones is not None:
            await self._tombstones.add(user_id)
        self._waiting = [waiting for waiting in self._waiting if waiting[2] != user_id]
        await self._asked(self._drop_answers(user_id))

    async def remembered(self) -> frozenset[str]:
        """See `StateStore.remembered`."""
        return frozenset() if self._tombstones is None else frozenset(await self._tombstones.read())

    async def put_item(self, item_id: str, content: bytes) -> LiveItem:
        """See `StateStore.put_item`."""
        return await self._change_item(item_id, "0", content)

    async def hide_item(self, item_id: str) -> LiveItem:
        """See `StateStore.hide_item`."""
        return await self._change_item(item_id, "1", b"")

    async def changes(self, after: int) -> Changes:
        """See `StateStore.changes`. Everything mirrored is void where the epoch is lost, and with it the memory, and
        where the log is no longer the one that was told of: a backup was restored, or a replica took over.
        """
        pipeline = self._redis.pipeline(transaction=True)
        pipeline.get(self._key("epoch"))
        pipeline.get(self._key("version"))
        pipeline.xrevrange(self._key("log"), count=1)
        pipeline.xrange(self._key("log"), f"{after}-0", f"{after}-0")
        epoch, counted, newest, told = await self._asked(pipeline.execute())
        version = int(counted or 0)
        if epoch is None or epoch != self._epoch:
            return await self._anew("its memory")
        if after == 0:
            gone = frozenset(user.decode() for user in await self._asked(self._redis.hkeys(self._key("forgotten"))))
            everything = Changes(version, gone, await self._items(), gone)
            self._told = newest[0] if newest else None
            return everything
        users: set[str] = set()
        forgotten: set[str] = set()
        items: set[bytes] = set()
        last = after
        while last < version:
            entries = await self._asked(self._redis.xrange(self._key("log"), f"({last}-0", f"{version}-0", count=BLOCK))
            for entry_id, fields in entries:
                last = _version(entry_id)
                if (user := fields.get(b"u")) is not None:
                    users.add(user.decode())
                    if b"e" not in fields:
                        forgotten.add(user.decode())
                if (item := fields.get(b"i")) is not None:
                    items.add(item)
            if len(entries) < BLOCK:
                break
        if version < after or self._is_another(after, told, forgotten):
            return await self._anew("its newest changes")
        changed = await self._items(sorted(items)) if items else ()
        self._told = newest[0] if newest else None
        newer = tuple(item for item in changed if item.version > after)
        return Changes(version, frozenset(users), newer, frozenset(forgotten))

    async def daily_counts(self, first_day: int, last_day: int) -> list[DailyCount]:
        """See `StateStore.daily_counts`."""
        found = dict[tuple[bytes, int], bytes]()  # for a scan may tell of an item twice
        for day in range(first_day, last_day + 1):
            cursor = 0
            while True:  # in blocks, for reading a reply takes the loop as long as the reply is
                cursor, some = await self._asked(self._redis.hscan(self._key(f"day:{day}"), cursor, count=BLOCK))
                found.update(((item, day), count) for item, count in some.items())
                if cursor == 0:
                    break
        return await asyncio.to_thread(
            lambda: [DailyCount(item.decode(), day, int(count)) for (item, day), count in found.items()]
        )

    async def export(self) -> AsyncIterator[Feedback]:
        """See `StateStore.export`."""
        last = "-"
        while entries := await self._asked(self._redis.xrange(self._key("log"), last, "+", count=BLOCK)):
            for _, fields in entries:
                if (body := fields.get(b"e")) is not None:
                    yield Event.model_validate_json(body)
                elif (user := fields.get(b"u")) is not None:
                    yield Forgotten(forgotten=user.decode())
            last = f"({entries[-1][0].decode()}"

    def keep_answer(self, recommendation_id: str, user_id: str | None, answer: bytes, ttl_seconds: float) -> None:
        """See `StateStore.keep_answer`: many answers travel in one pipeline."""
        if len(self._waiting) < MOST_WAITING:
            self._waiting.append((recommendation_id, ttl_seconds, user_id, answer))
        if self._flushing is None or self._flushing.done():
            self._flushing = asyncio.get_running_loop().create_task(self._flush())

    async def kept_answer(self, recommendation_id: str) -> bytes | None:
        """See `StateStore.kept_answer`; one that another worker is about to send is waited for."""
        key = self._key(f"answer:{recommendation_id}")
        deadline = time.monotonic() + may_come_within(recommendation_id)
        while (found := await self._asked(self._redis.get(key))) is None and time.monotonic() < deadline:
            await asyncio.sleep(FLUSH_SECONDS)
        return None if found is None else bytes(found).partition(b" ")[2]

    def _is_another(self, after: int, found: list[tuple[bytes, dict[bytes, bytes]]], forgotten: Set[str]) -> bool:
        """Whether the log has another entry at `after` than was told of; an event leaves it where its user was
        `forgotten` since.
        """
        told = self._told
        if told is None or _version(told[0]) != after or found == [told]:
            return False
        return bool(found) or told[1].get(b"u", b"").decode() not in forgotten

    async def _anew(self, lost: str) -> Changes:
        """Everything, after a loss."""
        self._losses = [
            f"redis: came back without {lost}, noticed at {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC: what was "
            "acknowledged before is lost where the event log was not exported; restart the service to clear this"
        ]
        try:
            await self.start()
            return replace(await self.changes(0), everything=True)
        except StateUnavailable:
            self._epoch = None  # nobody was told yet
            raise

    async def _read_together(self) -> None:
        """Whoever asks while an answer is on its way is asked about in one call, with all others who do."""
        while self._wanted:
            batch, self._wanted = self._wanted[:MOST_AT_ONCE], self._wanted[MOST_AT_ONCE:]
            outcome: Sequence[UserEvents] | Exception
            try:
                found = await self._asked(self._events_of(args=[self._prefix, *(user_id for user_id, _ in batch)]))
                outcome = [_events(forgotten, entries) for forgotten, entries in found]
            except Exception as error:  # whatever it is, the callers have to hear of it
                outcome = error
            for place, (_, future) in enumerate(batch):
                if future.done():  # whoever asked has left
                    continue
                if isinstance(outcome, Exception):
                    future.set_exception(outcome)
                else:
                    future.set_result(outcome[place])

    async def _flush(self) -> None:
        while self._waiting:
            await asyncio.sleep(FLUSH_SECONDS)
            waiting, self._waiting = self._waiting, []
            arguments: list[str | bytes] = [self._prefix]
            for recommendation_id, ttl, user_id, answer in waiting:
                arguments += [recommendation_id, str(max(int(ttl * 1000), 1)), _answer_begins(user_id) + answer]
            with contextlib.suppress(RedisError, OSError):  # a cache: what is lost here is merely not explained later
                await self._keep_answers(args=arguments)

    async def _drop_answers(self, user_id: str) -> None:
        """Take down a user's kept answers: a walk over all that are kept, for forgetting is rare."""
        begins = _answer_begins(user_id)
        cursor = 0
        while True:
            cursor, keys = await self._redis.scan(cursor, match=_literally(self._key("answer:")) + "*", count=BLOCK)
            if keys:
                pipeline = self._redis.pipeline(transaction=False)
                for key in keys:
                    pipeline.getrange(key, 0, len(begins) - 1)
                beginnings = await pipeline.execute()
                if wanted := [key for key, found in zip(keys, beginnings, strict=True) if found == begins]:
                    await self._redis.unlink(*wanted)
            if cursor == 0:
                return

    async def _change_item(self, item_id: str, hidden: str, content: bytes) -> LiveItem:
        kept = await self._asked(self._set_item(args=[self._prefix, item_id, hidden, content]))
        return _item(item_id, kept)

    async def _items(self, item_ids: Sequence[bytes] | None = None) -> tuple[LiveItem, ...]:
        if item_ids is None:
            found = await self._asked(self._redis.hgetall(self._key("items")))
        else:
            values = await self._asked(self._redis.hmget(self._key("items"), list(item_ids)))
            found = {name: value for name, value in zip(item_ids, values, strict=True) if value is not None}
        items = [_item(name.decode(), value) for name, value in found.items()]
        return tuple(sorted(items, key=lambda item: item.version))

    async def _doubts(self) -> list[str]:
        """What in Redis's configuration would break the promises; empty where it may not be asked."""
        try:
            wanted = ("appendonly", "appendfsync", "maxmemory-policy")
            found = await self._redis.config_get(*wanted)
        except (RedisError, OSError):
            return []
        doubts = []
        if found.get("appendonly") == "no":
            doubts.append("redis: appendonly is no, so acknowledged events do not survive a restart of Redis")
        elif found.get("appendfsync") != "always":
            doubts.append("redis: appendfsync is not always, so a power cut may lose the last acknowledged events")
        if str(found.get("maxmemory-policy", "")).startswith("allkeys"):
            doubts.append("redis: maxmemory-policy evicts durable keys; expected noeviction or volatile-…")
        return doubts

    def _key(self, name: str) -> str:
        return self._prefix + name

    async def _asked(self, asking: Any) -> Any:
        """The reply. Raises `StateUnavailable`. Untyped, for the library's types leave open whether it waits."""
        try:
            return await asking
        except (TimeoutError, RedisError, OSError) as error:
            raise StateUnavailable(f"redis: {type(error).__name__}: {error}") from error


def _answer_begins(user_id: str | None) -> bytes:
    """What stands before a kept answer: whose it is, in hexadecimal digits, and a space."""
    return b" " if user_id is None else user_id.encode("utf-8", "surrogatepass").hex().encode() + b" "


def _literally(text: str) -> str:
    """A pattern of Redis's that matches just this."""
    return "".join(f"\\{letter}" if letter in "*?[]\\^-" else letter for letter in text)


def _version(entry_id: bytes) -> int:
    return int(entry_id.partition(b"-")[0])


def _events(forgotten: bytes, entries: list[tuple[bytes, bytes]]) -> UserEvents:
    if not entries and not int(forgotten):
        return NO_EVENTS
    return UserEvents(tuple(_kept(int(version), body) for version, body in entries), int(forgotten))


def _kept(version: int, body: bytes) -> KeptEvent:
    return KeptEvent(version, Event.model_validate_json(body))


def _item(item_id: str, kept: bytes) -> LiveItem:
    """From `<version> <hidden> <content>`; no content where it was only hidden."""
    version, hidden, content = bytes(kept).split(b" ", 2)
    return LiveItem(item_id, int(version), hidden == b"1", content or None)
