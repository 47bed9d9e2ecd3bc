"""The page and the card: everything shown, foreign text harmless, equal facts give equal bytes."""

import re
from base64 import b64decode
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any
from xml.etree import ElementTree

import pytest

from model_store.manifest import Candidates, ManifestDraft, Modality, Term, Training
from training.report import charts
from training.report.environment import environment
from training.report.facts import RunFacts, grouped
from training.report.model_card import model_card
from training.report.page import table, value_text
from training.report.write import report_page

NASTY = "<script>alert('x')</script> & | co"
QUALITY = {"recall@20": 0.25, "ndcg@20": 0.125, "users": 40}
HISTORY = [
    '{"phase": "base-0", "step": 10, "loss": 6.0, "softmax": 5.5, "valid/recall@20": 0.1, "valid/ndcg@20": 0.05}',
    '{"phase": "base-0", "step": 20, "loss": 5.0, "softmax": 4.5, "valid/recall@20": 0.2, "valid/ndcg@20": 0.07}',
    '{"phase": "router", "step": 1, "load_entropy": 0.9, "pair_entropy": 0.8, "effective_experts": 2.0,'
    ' "load/dominant-visual": 0.75, "load/dominant-textual": 0.25, "use/dominant-visual": 1.0}',
    '{"phase": "router", "step": 7, "stage_switch": 1.0}',
    '{"phase": "router", "step": 11, "load_entropy": 0.8, "pair_entropy": 0.7, "effective_experts": 1.5,'
    ' "load/dominant-visual": 0.5, "load/dominant-textual": 0.5, "use/dominant-visual": 0.625}',
]
CORRELATIONS = {"whole": 0.75, "routed": 0.5}
EXPLANATION: dict[str, Any] = {
    "recovery": {"users": 31, "whole": 0.875, "chance": 0.3333, "by_kind": {"looks": 0.9375}},
    "perturbation": {
        "pairs": {"visual": 17},
        "graph_frozen": {**CORRELATIONS, "by_modality": {"visual": CORRELATIONS}, "random_weights": CORRELATIONS},
        "graph_rebuilt": {"whole": None, "routed": None, "by_modality": {}},
    },
    "role_check": {"visual": {"led": 0.5, "others": 0.25, "holds": True, "experts": {}}},
}


def manifest(**changed: Any) -> ManifestDraft:
    return ManifestDraft(
        model="magnet",
        dataset=NASTY,
        scoring="pair",
        embedding_size=4,
        modalities=(
            Modality(name="behaviour", kind="behaviour"),
            Modality(name="textual", kind="content", feature_width=5),
            Modality(name="visual", kind="content", feature_width=6, encoder="a" * 64),
        ),
        terms=(
            Term(name="base", role="base", modalities={"behaviour": 1.0}),
            Term(name="dominant-textual", role="dominant", modalities={"textual": 0.75, "behaviour": 0.25}),
            Term(name="dominant-visual", role="dominant", modalities={"visual": 0.75, "behaviour": 0.25}),
        ),
        top_k_experts=2,
        candidates=Candidates(depth=50, recall={"recall@20": 0.9975, "recall@20/cold": None}),
        explanation=EXPLANATION,
        routed_variance_share=0.625,
        routing={
            "share_of_score": {"base": 0.48, "dominant-textual": 0.2, "dominant-visual": 0.32},
            "share_of_score_by_modality": {"behaviour": 0.6, "textual": 0.2, "visual": 0.2},
        },
        training=Training(seed=9, config={"settings": {"members": 1, "absent": None}}, refit=True),
    ).model_copy(update=changed)


def run_facts(**changed: Any) -> RunFacts:
    metrics: dict[str, Any] = {
        "valid": QUALITY,
        "test": QUALITY,
        "cold": {},
        "tail": {**QUALITY, "recall@20": 0.0625},
        "strata": {"head": QUALITY, "tail": QUALITY, "cold": {**QUALITY, "recall@20": 0.03125}},
        "split": {"name": "random", "seed": 9},
        "model": "magnet",
        "training": {"steps": 20, "item_item_weight": 1.5, "item_item": {"lambda": 165.25}},
        "data": {
            "name": NASTY,
            "users": 41,
            "items": 43,
            "interactions": 430,
            "content": {"visual": {"items": 37, "width": 6}},
        },
        "explanation": EXPLANATION,
        "served": manifest().model_dump(mode="json"),
    }
    return RunFacts(grouped(HISTORY), metrics | changed, {"model": "magnet", "settings": {"note": NASTY}})


class Reader(HTMLParser):
    """Collects tags, text, and what pictures say; complains about tags that do not match."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.titles: list[str] = []
        self.text = ""
        self.pictures: list[dict[str, str | None]] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag == "img":
            self.pictures.append(dict(attrs))
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data
        if self.open and self.open[-1] == "h2":
            self.titles.append(data)

    @property
    def drawings(self) -> Iterator[str]:
        """The SVGs, which have to be well-formed."""
        for picture in self.pictures:
            data = str(picture["src"]).removeprefix("data:image/svg+xml;base64,")
            svg = b64decode(data, validate=True).decode()
            ElementTree.fromstring(svg)
            yield svg


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    reader.close()
    assert reader.open == []
    return reader


def test_a_magnet_run_shows_every_section() -> None:
    reader = read(report_page(run_facts(), made_with=environment()))
    assert reader.titles == [
        *("Quality", "Strata", "Loss and validation", "Routing over time", "Experts in use", "Candidate recall"),
        *("Explanations", "Item-item term", "Data", "Environment", "Configuration"),
    ]
    assert "62.5% of the variance" in reader.text
    assert "165.25" in reader.text
    drawn = "".join(reader.drawings)
    for text in ("second stage begins", "dominant-visual", "0.031", "0.998", "random weights, whole", "looks"):
        assert text in drawn, text
    assert any("second stage begins at step 7" in str(picture["alt"]) for picture in reader.pictures)


def test_roles_are_weighted_by_measured_use() -> None:
    drawn = "".join(read(report_page(run_facts())).drawings)
    # dominant × behaviour: 0.2 * 0.25 + 0.32 * 0.25 = 0.13; × textual: 0.2 * 0.75 = 0.15; × visual: 0.32 * 0.75 = 0.24
    for value in ("0.13", "0.15", "0.24"):
        assert f">{value}<" in re.sub(r"<!--.*?-->", "", drawn), value


def test_what_was_not_measured_is_left_out() -> None:
    bare = RunFacts({}, {"test": QUALITY, "model": "popularity"}, {"data": "tiny"})
    reader = read(report_page(bare))
    assert reader.titles == ["Quality", "Loss and validation", "Configuration"]
    assert "not fitted step by step" in reader.text
    assert reader.pictures == []


def test_foreign_text_stays_text_and_nothing_comes_from_outside() -> None:
    page = report_page(run_facts(), made_with={"processor": NASTY})
    reader = read(page)
    assert "script" not in reader.tags
    assert NASTY in reader.text
    assert not re.search(r"(?:src|href)=\"(?!data:|#)", page)
    card = model_card(run_facts(), manifest())
    assert "<script" not in card.replace("\\<", "")


def test_equal_facts_give_equal_bytes_without_date_or_version() -> None:
    assert report_page(run_facts()) == report_page(run_facts())
    for svg in read(report_page(run_facts())).drawings:
        assert "dc:date" not in svg
        assert "Matplotlib v" not in svg


def test_drawings_do_not_depend_on_the_user_s_own_style() -> None:
    import matplotlib as mpl

    before = charts.bars({"some": {"one": 1.0, "below": -0.5}})
    with mpl.rc_context({"lines.linewidth": 9, "font.size": 30, "axes.facecolor": "red"}):
        assert charts.bars({"some": {"one": 1.0, "below": -0.5}}) == before


def test_the_card_says_what_a_reader_asks() -> None:
    card = model_card(run_facts(), manifest())
    for heading in ("## Data", "## Intended use", "## Limits", "## Quality", "## Explanations", "## Training"):
        assert card.count(f"\n{heading}\n") == 1
    assert "41 users, 43 items, 430 interactions" in card
    assert "| visual | 6 | 37 | made by an encoder of the store |" in card
    assert "| textual | 5 | – | given with the data |" in card
    assert "| tail | – | 0.0625 | – | 0.1250 | 40 |" in card
    assert "| whole score | 0.8750 |" in card
    assert "| graph frozen, visual | 0.7500 | 0.5000 |" in card
    assert "Seed 9" in card
    assert "members = 1" in card
    assert "2 experts count" in card
    widths = {line.replace("\\|", "").count("|") for line in card.splitlines() if line.startswith("| visual")}
    assert widths == {5}


def test_the_card_of_a_model_whose_explanations_were_not_measured_says_so() -> None:
    card = model_card(run_facts(), manifest(explanation={}, routed_variance_share=None, routing={}))
    assert "has not been measured for this model" in card
    assert "experts count" not in card


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (True, "yes"),
        (0.25, "0.2500"),
        (1.0, "1.0000"),
        (2000.0, "2000"),
        (38.456, "38.46"),
        ([1, 2], "1, 2"),
    ],
)
def test_values_are_written_for_people(value: Any, text: str) -> None:
    assert value_text(value) == text
    assert f"<td>{text}</td>" in table(["", "x"], [["row", value]])


def test_the_environment_names_versions_and_no_place() -> None:
    found = environment()
    assert {"Python", "torch", "numpy", "threads", "processor"} <= found.keys()
    assert all("/" not in value for name, value in found.items() if name not in ("processor", "GPU"))
