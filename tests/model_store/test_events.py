"""The event format: round trips, what counts, and errors that name the line."""

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from model_store.errors import InvalidEvent, StoreUnusable
from model_store.events import (
    MAX_LINE_BYTES,
    POSITIVE_RATING,
    Event,
    EventType,
    Feedback,
    Forgotten,
    read_events,
    write_events,
)

LINE = b'{"event_id":"e1","user":"u/1","item":"i","type":"click","timestamp":1700000000.5}\n'

events = st.builds(
    Event,
    event_id=st.text(st.characters(codec="utf-8"), min_size=1, max_size=20),
    user=st.text(st.characters(codec="utf-8"), min_size=1, max_size=20),
    item=st.text(st.characters(codec="utf-8"), min_size=1, max_size=20),
    type=st.sampled_from(["view", "click", "purchase", "rating", "dislike", "hide"]),
    value=st.floats(allow_nan=False, allow_infinity=False),
    timestamp=st.floats(0, 4e9),
    recommendation_id=st.none() | st.text("abc", min_size=1),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(events, max_size=5))
def test_written_events_are_read_back(tmp_path: Path, several: list[Event]) -> None:
    file = tmp_path / "events.jsonl"
    mixed: list[Feedback] = [*several, Forgotten(forgotten="somebody/ü"), *several]
    write_events(file, mixed)
    assert list(read_events(file)) == mixed


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300)
@given(st.data())
def test_any_mangled_line_is_an_event_or_an_error_of_the_documented_kind(tmp_path: Path, data: st.DataObject) -> None:
    mangled = bytearray(LINE)
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(mangled) - 1))
        mangled[place : place + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    file = tmp_path / "events.jsonl"
    file.write_bytes(LINE + bytes(mangled))
    with suppress(InvalidEvent):
        list(read_events(file))


@pytest.mark.parametrize(
    ("kind", "value", "positive"),
    [
        ("view", None, True),
        ("click", None, True),
        ("purchase", None, True),
        ("rating", POSITIVE_RATING, True),
        ("rating", POSITIVE_RATING - 0.5, False),
        ("dislike", None, False),
        ("hide", None, False),
        ("hide", 5.0, False),
    ],
)
def test_what_counts_as_history(kind: EventType, value: float | None, positive: bool) -> None:
    event = Event(event_id="e", user="u", item="i", type=kind, value=value, timestamp=0)
    assert event.is_positive is positive
    assert event.is_negative is not positive


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"not json\n", "line 2: the line: Invalid JSON"),
        (b"\n", "line 2: the line: Invalid JSON"),
        (LINE.replace(b'"i"', b'""'), "line 2: item: Value error, expected an id of 1 to 512 bytes"),
        (LINE.replace(b"click", b"lick"), "line 2: type: "),
        (LINE.replace(b"click", b"rating"), "line 2: the line: Value error, expected a value with type 'rating'"),
        (LINE.replace(b"1700000000.5", b"1700000000500"), "line 2: timestamp: "),  # milliseconds
        (LINE.replace(b"1700000000.5", b"NaN"), "line 2: "),
        (LINE.replace(b"1700000000.5", b'"yesterday"'), "line 2: timestamp: "),
        (LINE.replace(b"}", b',"rank":1}'), "line 2: rank: Extra inputs are not permitted"),
        (LINE.replace(b"e1", b"e" * MAX_LINE_BYTES), f"line 2: expected at most {MAX_LINE_BYTES} bytes"),
        (LINE[:30], "line 2: the line: Invalid JSON"),
        (b"[" * 10_000 + b"\n", "line 2: the line: Invalid JSON"),
    ],
)
def test_errors_name_file_line_and_field(tmp_path: Path, line: bytes, said: str) -> None:
    file = tmp_path / "events.jsonl"
    file.write_bytes(LINE + line)
    with pytest.raises(InvalidEvent) as caught:
        list(read_events(file))
    assert f"events.jsonl, {said}" in str(caught.value)
    assert len(str(caught.value)) < 500


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(StoreUnusable, match=r"events\.jsonl"):
        list(read_events(tmp_path / "events.jsonl"))


def test_writing_replaces_the_whole_file_or_nothing(tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    write_events(file, [Event.model_validate_json(LINE)])

    def breaks() -> Event:
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_events(file, (breaks() for _ in range(1)))
    assert file.read_bytes() == LINE
    assert [path.name for path in tmp_path.iterdir()] == ["events.jsonl"]
