"""The frozen base: alignment keeps every score, members count alike, and what is derived from parts.

Axes: `U` users, `I` items, `M` modalities, `D` width.
"""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import sparse

from training.models.magnet.frozen import (
    FrozenBase,
    NewItemForm,
    aligned,
    concatenate,
    part_moments,
    residual_maps,
    unit_blocks,
)

U, I, M, D = 9, 30, 3, 5  # noqa: E741
F32 = NDArray[np.float32]


def frozen(seed: int, *, members: int = 1) -> FrozenBase:
    rng = np.random.default_rng(seed)
    width = members * D

    def drawn(*shape: int) -> F32:
        return rng.normal(size=shape).astype(np.float32)

    parts = drawn(I, M, width)
    parts /= np.linalg.norm(parts.sum(axis=1), axis=1)[:, None, None]
    scales = drawn(2, 1).repeat(width, axis=1)
    form = NewItemForm({"visual": drawn(6, width)}, {"visual": drawn(6, width)}, scales, drawn(width))
    return FrozenBase(parts, drawn(I, width) * 7, members, form)


@pytest.fixture(scope="module")
def histories() -> sparse.csr_array:
    """(U, I); the last user has none."""
    taken = np.random.default_rng(3).random((U, I)) < 0.2
    taken[-1] = False
    return sparse.csr_array(taken.astype(np.float32))


def scores(base: FrozenBase, histories: sparse.csr_array) -> F32:
    return base.users(histories) @ base.candidates.T


def test_users_are_unit_vectors_and_nobody_without_a_history(histories: sparse.csr_array) -> None:
    lengths = np.linalg.norm(frozen(0).users(histories), axis=1)
    np.testing.assert_allclose(lengths[:-1], 1, rtol=1e-6)
    assert lengths[-1] == 0


@pytest.mark.parametrize("members", [1, 2])
def test_alignment_keeps_every_score_and_every_parts_share(members: int, histories: sparse.csr_array) -> None:
    base, reference = frozen(0, members=members), frozen(1, members=members)
    turned = aligned(base, reference)
    assert not np.allclose(turned.parts, base.parts, atol=0.1)
    np.testing.assert_allclose(scores(turned, histories), scores(base, histories), atol=1e-5)
    before = np.einsum("ud,imd->uim", base.users(histories), base.parts)
    after = np.einsum("ud,imd->uim", turned.users(histories), turned.parts)
    np.testing.assert_allclose(after, before, atol=1e-5)


def test_alignment_turns_new_items_with_the_catalogue() -> None:
    base = frozen(0)
    turned = aligned(base, frozen(1))
    features = np.random.default_rng(4).normal(size=(8, 6)).astype(np.float32)
    for side in ("projections", "history_projections"):
        before, after = (features @ getattr(one.new_item, side)["visual"] for one in (base, turned))
        table = base.candidates if side == "projections" else base.history
        turned_table = turned.candidates if side == "projections" else turned.history
        np.testing.assert_allclose(after @ turned_table.T, before @ table.T, rtol=1e-3, atol=1e-3)
    before, after = (one.new_item.common @ one.candidates.T for one in (base, turned))
    np.testing.assert_allclose(after, before, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("members", [1, 2])
def test_alignment_undoes_a_rotation_of_each_member(members: int) -> None:
    reference = frozen(0, members=members)
    rotation = np.zeros((members * D,) * 2, np.float32)
    for member in range(members):
        block = slice(member * D, (member + 1) * D)
        rotation[block, block] = np.linalg.qr(np.random.default_rng(member).normal(size=(D, D)))[0]
    rotated = replace(reference, parts=reference.parts @ rotation, history=reference.history @ rotation)
    back = aligned(rotated, reference)
    np.testing.assert_allclose(back.parts, reference.parts, atol=1e-5)
    np.testing.assert_allclose(back.history, reference.history, atol=1e-4)


def test_concatenated_members_score_their_mean(histories: sparse.csr_array) -> None:
    members = [frozen(seed) for seed in range(3)]
    joined = concatenate(members)
    assert joined.members == 3
    expected = np.mean([scores(base, histories) for base in members], axis=0)
    np.testing.assert_allclose(scores(joined, histories), expected, atol=1e-6)
    # whatever the scale of a member's history table
    louder = concatenate([replace(members[0], history=members[0].history * 100), *members[1:]])
    np.testing.assert_allclose(scores(louder, histories), expected, atol=1e-6)
    assert concatenate(members[:1]) is members[0]


def test_unit_blocks_golden() -> None:
    found = unit_blocks(np.array([[3, 4, 0, 2], [0, 0, 5, 0]], np.float32), 2)
    root = 2**0.5
    np.testing.assert_allclose(found, [[0.6 / root, 0.8 / root, 0, 1 / root], [0, 0, 1 / root, 0]], rtol=1e-6)


def test_residual_maps_take_out_what_one_part_predicts_of_another() -> None:
    rng = np.random.default_rng(0)
    parts = rng.normal(size=(400, 3, D)).astype(np.float32)
    transform = rng.normal(size=(D, D))
    parts[:, 1] = parts[:, 0] @ transform  # modality 0 says all of modality 1, and nothing of modality 2
    warm = np.arange(400) < 350
    parts[~warm] = 50  # cold items teach nothing
    maps = residual_maps(parts, warm)
    np.testing.assert_allclose(maps[0, 1], transform, atol=0.05)
    assert np.abs(maps[0, 2]).max() < 0.2
    assert not maps[range(3), range(3)].any()
    left = parts[warm, 1] - parts[warm, 0] @ maps[0, 1]
    assert np.square(left).mean() < 0.01 * np.square(parts[warm, 1]).mean()


def test_part_moments_standardise_part_scores_per_user() -> None:
    base = frozen(2)
    moments = part_moments(base.parts)
    user = np.random.default_rng(1).normal(size=D).astype(np.float32)
    part_scores = base.parts @ user  # (I, M)
    np.testing.assert_allclose(moments.mean @ user, part_scores.mean(axis=0), atol=1e-5)
    spread = np.sqrt(np.einsum("d,mde,e->m", user, moments.covariance, user))
    np.testing.assert_allclose(spread, part_scores.std(axis=0), rtol=1e-4)
    total = part_scores.sum(axis=1)
    with_total = [np.cov(part, total, bias=True)[0, 1] for part in part_scores.T]
    np.testing.assert_allclose(np.einsum("d,mde,e->m", user, moments.with_total, user), with_total, rtol=1e-3)
