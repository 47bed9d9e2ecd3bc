"""`make bench BENCH=train`: what an interaction costs as data grow, and one full-ranking evaluation of 19,000 users.

Growth is measured in processor time of one thread, which others at work on the machine do not add to. Whole trainings
are no benchmark: `metrics.json` of a run says how long it took.
"""

from __future__ import annotations

import resource
import statistics
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse

from tests.benchmarks.tables import Result, Table, spread
from tests.support.tiny_magnet import fit_magnet
from training.data.dataset import Dataset
from training.data.features import FeatureMatrix
from training.data.interactions import Interactions
from training.data.items import ItemTable
from training.data.splits import split_dataset
from training.evaluation.ranking import ScoreBlock, rank_users
from training.fit.negatives import NegativeSampler
from training.fit.run import Run
from training.models.bpr import BprRecipe
from training.models.embedding.config import EmbeddingConfig
from training.models.embedding.material import Material
from training.models.embedding.phase import TriplesPhase
from training.models.embedding.recipe import EmbeddingRecipe, seeded
from training.models.light_gcn import LightGcnConfig, LightGcnRecipe
from training.models.magnet.config import BaseConfig
from training.models.magnet.scored import MagnetScorer

GROWTH = ((12_000, 7_000), (120_000, 40_000), (600_000, 120_000), (2_400_000, 400_000))
PER_USER = 8.3
STEPS, LEAST_STEPS = 20, 4
AT_ONCE = 20_000_000
"""Interactions that all measured steps together pass over, but for the least number of steps."""
BABY_USERS, BABY_ITEMS, BABY_FEATURES = 19_000, 7_000, 128
WIDTH = 64
ITEM_ITEM_ROW = 200
EVALUATIONS = 3
RANKS = 50


def run(_: Path) -> None:
    """Measure and keep."""
    rows = []
    for users, items in GROWTH:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as alone:  # its memory is this size's alone
            rows.append(alone.submit(_growth, users, items).result())
    torch.set_num_threads(2)
    evaluations = [["inner products, width 64", *_inner_products()], ["MAGNET, every pair routed", *_routed()]]
    about = f"{BABY_USERS:,} users × {BABY_ITEMS:,} items, lists of {RANKS}"
    columns = ["users", "items", "interactions", "split, µs each", "LightGCN's graph, µs each"]
    columns += [
        "LightGCN, ms per step of 2,048",
        "ns each",
        "BPR, ms per step",
        "ns per vector",
        "memory, MiB",
        "KiB each",
    ]
    tables = [
        Table("Growth of one training, generated interactions, processor time of one thread", columns, rows),
        Table(
            f"One exact full-ranking evaluation ({about}), two threads",
            ["model", "seconds", "processor seconds"],
            evaluations,
        ),
    ]
    Result("train", tables).keep()


def generated(users: int, items: int, *, seed: int = 0, width: int | None = None) -> Dataset:
    """Interactions with a long tail, `PER_USER` for each user on average; features where `width` is given."""
    rng = np.random.default_rng(seed)
    count = int(users * PER_USER)
    user_row = np.concatenate([np.repeat(np.arange(users), 3), rng.integers(0, users, count - 3 * users)])
    item_row = (items * rng.random(count) ** 3).astype(np.int32)
    features = {}
    if width is not None:
        for name in ("visual", "textual"):
            values = rng.normal(size=(items, width)).astype(np.float32)
            features[name] = FeatureMatrix(name, values, np.ones(items, np.bool_))
    return Dataset(
        name=f"generated-{users}x{items}",
        user_ids=[f"u{row}" for row in range(users)],
        items=ItemTable(
            item_ids=[f"i{row}" for row in range(items)],
            titles=[None] * items,
            categories=[()] * items,
            descriptions=[None] * items,
            images=[None] * items,
        ),
        interactions=Interactions(user_row.astype(np.int32), item_row),
        features=features,
    )


def _growth(users: int, items: int) -> list[str]:
    """One row of the first table; in a process of its own."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:  # what is imported on first use is no cost of the data
        tiny = generated(100, 50)
        _phase(
            LightGcnRecipe(),
            LightGcnConfig(),
            Material(tiny, split_dataset(tiny, "random", seed=0), Run(Path(folder)), None),
        )
    dataset = generated(users, items)
    began = time.process_time()
    split = split_dataset(dataset, "random", seed=0)
    splitting = time.process_time() - began
    count = split.train.nnz
    with tempfile.TemporaryDirectory() as folder:
        material = Material(dataset, split, Run(Path(folder)), None)
        began = time.process_time()
        graph = _phase(LightGcnRecipe(), LightGcnConfig(), material)
        building = time.process_time() - began
        steps = max(LEAST_STEPS, min(STEPS, AT_ONCE // count))
        per_step = _seconds_per_step(graph, steps)
        del graph
        of_bpr = _seconds_per_step(_phase(BprRecipe(), EmbeddingConfig(), material), steps)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return [
        f"{users:,}",
        f"{items:,}",
        f"{len(dataset.interactions):,}",
        f"{splitting / count * 1e6:.2f}",
        f"{building / count * 1e6:.2f}",
        f"{per_step * 1e3:,.0f}",
        f"{per_step / count * 1e9:.0f}",
        f"{of_bpr * 1e3:,.0f}",
        f"{of_bpr / (users + items) * 1e9:.0f}",
        f"{memory:,.0f}",
        f"{memory * 1024 / len(dataset.interactions):.2f}",
    ]


def _phase(recipe: EmbeddingRecipe, config: EmbeddingConfig, material: Material) -> TriplesPhase:
    with seeded(0):
        network = recipe.network(material, config)
    sampler = NegativeSampler(material.split.train, None)
    device = material.device
    return TriplesPhase(recipe.name, network, config, split=material.split, sampler=sampler, seed=0, device=device)


def _seconds_per_step(phase: TriplesPhase, steps: int) -> float:
    taken = []
    for step in range(steps):
        began = time.process_time()
        phase.optimiser.zero_grad()
        loss = torch.stack(list(phase.losses(step, np.random.default_rng(step)).values())).sum()
        loss.backward()  # type: ignore[no-untyped-call]  # torch's is without types
        phase.optimiser.step()
        taken.append(time.process_time() - began)
    return statistics.median(taken)


def _inner_products() -> list[str]:
    rng = np.random.default_rng(0)
    users = rng.normal(size=(BABY_USERS, WIDTH)).astype(np.float32)
    items = rng.normal(size=(BABY_ITEMS, WIDTH)).astype(np.float32)
    seen = split_dataset(generated(BABY_USERS, BABY_ITEMS), "random", seed=0).train
    rows = np.arange(BABY_USERS)
    return _evaluation(lambda block: users[block] @ items.T, seen, rows)


def _routed() -> list[str]:
    """MAGNET as trained for a moment, with item-item rows as long as trained ones."""
    dataset = generated(BABY_USERS, BABY_ITEMS, width=BABY_FEATURES)
    with tempfile.TemporaryDirectory() as folder:
        fit = fit_magnet(
            dataset,
            Path(folder),
            base={
                "embedding_size": BaseConfig().embedding_size,
                "max_steps": 1,
                "evaluate_every": 1,
                "batch_size": 20_000,
                "continued_epochs": 1,
            },
            router={"steps": 10, "expert_width": 16, "candidates": 20},
            item_item={"enabled": False},
        )
    model = fit.fitted
    rng = np.random.default_rng(1)
    count = BABY_ITEMS * ITEM_ITEM_ROW
    starts = ITEM_ITEM_ROW * np.arange(BABY_ITEMS + 1)
    entries = (rng.random(count, np.float32), rng.integers(0, BABY_ITEMS, count), starts)
    term = sparse.csr_array(entries, shape=(BABY_ITEMS, BABY_ITEMS))
    evidence = replace(model.evidence, item_item_shares={0: term, 1: term, 2: term})
    scorer = MagnetScorer(evidence, model.mixture)
    return _evaluation(scorer.score_block, fit.split.train, np.arange(BABY_USERS))


def _evaluation(score_block: ScoreBlock, seen: sparse.csr_array, rows: NDArray[np.int64]) -> list[str]:
    """Seconds by the clock, and of all threads together."""
    taken, worked = [], []
    for _ in range(EVALUATIONS):
        began, work_before = time.perf_counter(), time.process_time()
        rank_users(score_block, rows, seen, k=RANKS)
        taken.append(time.perf_counter() - began)
        worked.append(time.process_time() - work_before)
    return [spread(taken), spread(worked)]
