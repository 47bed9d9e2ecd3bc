"""Content taken away: whole modalities, or a share of each one's rows."""

import numpy as np
import pytest

from tests.support.tiny_dataset import tiny_dataset
from training.data.removed import with_masked_features, without_modalities
from training.errors import DatasetError


def test_a_share_of_the_rows_that_are_there_goes_missing_and_nothing_else_changes() -> None:
    dataset = tiny_dataset(["visual", "textual"])
    masked = with_masked_features(dataset, 0.3, seed=4)
    gone = {}
    for name, before in dataset.features.items():
        after = masked.features[name]
        gone[name] = before.present & ~after.present
        assert gone[name].sum() == round(0.3 * before.present.sum())
        assert not (after.present & ~before.present).any()
        assert not after.values[~after.present].any()
        np.testing.assert_array_equal(after.values[after.present], before.values[after.present])
    assert (gone["visual"] != gone["textual"]).any()  # each modality loses its own rows
    assert masked.interactions is dataset.interactions
    again = with_masked_features(dataset, 0.3, seed=4)
    np.testing.assert_array_equal(again.features["visual"].present, masked.features["visual"].present)


def test_a_modality_is_left_out_by_name() -> None:
    dataset = tiny_dataset(["visual", "textual"])
    assert list(without_modalities(dataset, ["visual"]).features) == ["textual"]
    with pytest.raises(DatasetError, match="acoustic"):
        without_modalities(dataset, ["acoustic"])
