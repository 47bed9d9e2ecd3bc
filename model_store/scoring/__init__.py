"""Reference scoring over the stored arrays: what a score is, in NumPy. The torch models and the service are held to it."""

from model_store.scoring.base import Because, PairScores, Scorer, UserState
from model_store.scoring.item_item import ItemItemScorer
from model_store.scoring.pair import PairScorer
from model_store.scoring.popularity import PopularityScorer
from model_store.snapshot import Snapshot

_SCORERS: dict[str, type[Scorer]] = {
    "pair": PairScorer,
    "item-item": ItemItemScorer,
    "popularity": PopularityScorer,
}


def scorer_for(snapshot: Snapshot) -> Scorer:
    """The scorer of the snapshot's scoring kind. Raises `KeyError` for a kind that this version does not know."""
    return _SCORERS[snapshot.manifest.scoring](snapshot)


__all__ = ["Because", "PairScores", "Scorer", "UserState", "scorer_for"]
