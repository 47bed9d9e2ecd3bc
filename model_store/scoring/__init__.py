"""Reference scoring over the stored arrays: what a score is, in NumPy. Torch models and service are held to it."""

from model_store.scoring.base import Because, PairScores, Readable, Scorer, UserState
from model_store.scoring.item import ItemScorer
from model_store.scoring.item_item import ItemItemScorer
from model_store.scoring.pair import PairScorer
from model_store.scoring.plain import PlainScorer
from model_store.scoring.popularity import PopularityScorer

_SCORERS: dict[str, type[Scorer]] = {
    "pair": PairScorer,
    "item": ItemScorer,
    "plain": PlainScorer,
    "item-item": ItemItemScorer,
    "popularity": PopularityScorer,
}


def scorer_for(snapshot: Readable) -> Scorer:
    """The scorer of the snapshot's scoring kind. Raises `KeyError` for a kind that this version does not know."""
    return _SCORERS[snapshot.manifest.scoring](snapshot)


__all__ = ["Because", "PairScorer", "PairScores", "Readable", "Scorer", "UserState", "scorer_for"]
