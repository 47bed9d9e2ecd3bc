"""How often models trained on triples are validated: patience is counted in that."""

import json
from pathlib import Path

import pytest

from training.data.dataset import Dataset
from training.data.splits import Split
from training.fit.run import Run
from training.models.embedding.config import EmbeddingConfig
from training.models.embedding.recipe import epochs_between_validations
from training.models.light_gcn import LightGcnRecipe


@pytest.mark.parametrize(("steps_per_epoch", "epochs"), [(1, 50), (14, 4), (25, 2), (49, 2), (50, 1), (400, 1)])
def test_small_sets_are_validated_every_fifty_steps_and_large_ones_every_epoch(
    steps_per_epoch: int, epochs: int
) -> None:
    assert epochs_between_validations(EmbeddingConfig(), steps_per_epoch) == epochs
    assert epochs_between_validations(EmbeddingConfig(evaluate_every=3), steps_per_epoch) == 3


def test_validations_are_so_far_apart(dataset: Dataset, split: Split, tmp_path: Path) -> None:
    config = LightGcnRecipe.config_type(batch_size=64, max_epochs=30)
    LightGcnRecipe().fit(dataset, split, config, Run(tmp_path))
    lines = [json.loads(line) for line in (tmp_path / "history.jsonl").read_text().splitlines()]
    steps = [line["step"] for line in lines if "valid/recall@20" in line]
    per_epoch = -(-split.train.nnz // 64)
    every = -(-50 // per_epoch) * per_epoch
    assert per_epoch < 50
    assert steps == [*range(every, 30 * per_epoch, every), 30 * per_epoch]
