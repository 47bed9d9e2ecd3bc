"""Events join a dataset's interactions as history, and only what counts."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from model_store.errors import InvalidEvent
from model_store.events import Forgotten, write_events
from tests.support.events import NOON, event
from tests.support.tiny_dataset import tiny_dataset, write_dataset
from training.config import RunConfig
from training.data.dataset import Dataset
from training.data.events import with_events
from training.pipeline import read


def added(dataset: Dataset, joined: Dataset) -> list[tuple[str, str]]:
    """User and item of every interaction that `dataset` did not have, in order."""
    rows = slice(len(dataset.interactions), None)
    pairs = zip(joined.interactions.user_row[rows], joined.interactions.item_row[rows], strict=True)
    return [(joined.user_ids[user], joined.items.item_ids[item]) for user, item in pairs]


def test_history_joins_and_the_rest_does_not(tmp_path: Path) -> None:
    dataset = tiny_dataset()
    write_events(
        tmp_path / "events",
        [
            event("new", "i1", "view"),
            event("u0", "i2", "purchase"),
            event("u0", "i3", "dislike"),
            event("u0", "i4", "hide"),
            event("u1", "i5", "rating", value=2.0),
            event("u1", "i6", "rating", value=4.0),
        ],
    )
    joined = with_events(dataset, [tmp_path / "events"])
    assert added(dataset, joined) == [("new", "i1"), ("u0", "i2"), ("u1", "i6")]
    assert joined.user_ids == [*dataset.user_ids, "new"]
    assert joined.interactions.timestamp is not None
    assert (joined.interactions.timestamp[-3:] >= NOON).all()
    np.testing.assert_array_equal(
        joined.interactions.item_row[: len(dataset.interactions)], dataset.interactions.item_row
    )


def test_the_newest_event_about_an_item_decides_and_an_event_id_counts_once(tmp_path: Path) -> None:
    dataset = tiny_dataset()
    twice = event("a", "i1")
    write_events(
        tmp_path / "first", [twice, event("a", "i2", "dislike", timestamp=NOON + 9e6), event("a", "i3", "hide")]
    )
    write_events(tmp_path / "second", [twice, event("a", "i2"), event("a", "i3"), event("a", "i3")])
    assert added(dataset, with_events(dataset, [tmp_path / "first", tmp_path / "second"])) == [
        ("a", "i1"),
        ("a", "i3"),
    ]


def test_unknown_items_are_counted_and_named_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    dataset = tiny_dataset()
    write_events(tmp_path / "events", [event("u0", "nowhere"), event("u1", "nowhere"), event("u1", "lost")])
    with caplog.at_level(logging.WARNING):
        assert with_events(dataset, [tmp_path / "events"]) is dataset
    (message,) = [record.getMessage() for record in caplog.records]
    assert "3 events are about 2 items" in message
    assert message.endswith("lost, nowhere")


def test_the_dataset_keeps_the_columns_it_has(tmp_path: Path) -> None:
    dataset = tiny_dataset()
    n = len(dataset.interactions)
    given = replace(
        dataset.interactions, timestamp=None, rating=np.full(n, 5, np.float32), given_split=np.full(n, 2, np.int8)
    )
    write_events(tmp_path / "events", [event("u0", "i1", "rating", value=4.5), event("u0", "i2", "view", value=1.0)])
    joined = with_events(replace(dataset, interactions=given), [tmp_path / "events"]).interactions
    assert joined.timestamp is None
    assert joined.rating is not None
    assert joined.given_split is not None
    np.testing.assert_array_equal(joined.rating[n:], [4.5, np.nan])
    np.testing.assert_array_equal(joined.given_split[n:], [0, 0])


def test_a_run_reads_them(tmp_path: Path) -> None:
    dataset = tiny_dataset()
    data = write_dataset(tmp_path / "data", dataset)
    write_events(tmp_path / "events", [event("new", "i1")])
    config = RunConfig(data=data, events=(tmp_path / "events",))
    assert read(config).user_ids[-1] == "new"
    (tmp_path / "events").write_text("{}\n")
    with pytest.raises(InvalidEvent, match="line 1"):
        read(config)


def test_a_forgotten_user_leaves_with_all_that_came_before(tmp_path: Path) -> None:
    dataset = tiny_dataset()
    given = replace(dataset.interactions, given_split=np.arange(len(dataset.interactions), dtype=np.int8) % 3)
    dataset = replace(dataset, interactions=given)
    write_events(tmp_path / "old", [event("u7", "i1"), event("new", "i2"), event("u8", "i3")])
    gone, back = Forgotten(forgotten="u7"), event("u8", "i4")
    write_events(tmp_path / "events", [gone, Forgotten(forgotten="new"), Forgotten(forgotten="u8"), back])
    joined = with_events(dataset, [tmp_path / "old", tmp_path / "events"])
    assert joined.user_ids == [user for user in dataset.user_ids if user not in ("u7", "u8")] + ["u8"]

    def pairs(of: Dataset) -> list[tuple[str, str, float, int]]:
        own = of.interactions
        assert own.timestamp is not None
        assert own.given_split is not None
        columns = (own.user_row, own.item_row, own.timestamp, own.given_split)
        return [(of.user_ids[u], of.items.item_ids[i], float(t), int(s)) for u, i, t, s in zip(*columns, strict=True)]

    remaining = [pair for pair in pairs(dataset) if pair[0] not in ("u7", "u8")]
    assert pairs(joined) == [*remaining, ("u8", "i4", back.timestamp, 0)]
    assert len(remaining) < len(dataset.interactions)
    again = with_events(dataset, [tmp_path / "events", tmp_path / "old"])  # the other order: what is read last is new
    assert {"u7", "new"} <= set(again.user_ids)
