"""An added item stands with the same evidence as an item of the snapshot that nobody has taken: one form for both."""

from pathlib import Path

import numpy as np
import pytest

from model_store.scoring import scorer_for
from model_store.scoring.pair import PairScorer
from model_store.snapshot import Snapshot
from model_store.store import Store
from service.added import AddedItems
from service.evidence import Evidence
from service.new_items import EncodedItem
from tests.support.tiny_snapshot import MODALITIES, write_tiny_pair_snapshot


def as_added(snapshot: Snapshot, row: int) -> EncodedItem:
    """The item of `row` as if it had been added, its column of the item-item matrix included."""
    sources = np.repeat(np.arange(snapshot.n_items), np.diff(snapshot.array("item_item_indptr")))
    spoken = snapshot.array("item_item_items") == row
    values = snapshot.array("item_item_values")[spoken].astype(np.float64)
    features = tuple(f"features_{name}" for name in MODALITIES[1:])
    arrays = {name: np.array(snapshot.array(name)[row]) for name in (*PairScorer.candidate_arrays, *features)}
    return EncodedItem(
        arrays, snapshot.array("item_present")[row], ("behaviour",), Evidence(sources[spoken], values), {}
    )


@pytest.mark.parametrize("routed", [False, True])
def test_an_added_item_scores_as_the_snapshots_own_new_item(routed: bool, tmp_path: Path) -> None:
    facts = {"cold_exposure": 1.5}
    snapshot = Store(tmp_path).open(write_tiny_pair_snapshot(tmp_path, routed=routed, item_item_facts=facts))
    scorer = scorer_for(snapshot)
    new = np.flatnonzero(snapshot.array("item_degree") == 0)
    assert len(new) > 1
    added = AddedItems(snapshot, [as_added(snapshot, int(row)) for row in new])
    for history in ([3, 8, 21], list(range(1, 13))):
        state = scorer.encode_user(np.array(history, np.int32))
        own, found = scorer.score(state, new), added.score(state, np.arange(len(new)))
        np.testing.assert_allclose(found.amounts, own.amounts, atol=1e-5)
        np.testing.assert_allclose(found.scores, found.amounts.sum(axis=(1, 2)), atol=1e-9)
        for place, row in enumerate(new.tolist()):
            because, of_own = added.because(state, place), scorer.because(state, row)
            np.testing.assert_allclose(because.exact, of_own.exact, atol=1e-4)
            np.testing.assert_allclose(because.attributed, of_own.attributed, atol=1e-4)
    assert state.item_item.entry.sum() > 0  # so that there is something to stand with
