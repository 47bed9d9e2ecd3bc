"""How MAGNET is made: phase A (the base), phase B (experts and router), and both again on everything for serving.

    1. Hold out a share of the training positives; fit the base and the closed form on the rest.
    2. Fit experts and router on the held-out positives: positives that the base has fitted would leak.
    3. Continue the base on all training positives and turn it into the first one's coordinates; the router, being a
       function of what nodes are, and the experts hold for it. This is the model that is measured.
    4. `refit`: step 3 once more on all interactions, for the number of epochs that step 3 chose. This one is served.

Everything that is chosen is chosen on validation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel
from scipy import sparse

from training.data.dataset import Dataset
from training.data.splits import Split
from training.evaluation.metrics import ndcg_at, recall_at
from training.evaluation.ranking import rank_positives
from training.fit.loop import Outcome, run_phase
from training.fit.run import Run
from training.graph.content import content_knn
from training.models.closed_form import ClosedFormSettings, fit_closed_form, why_off
from training.models.closed_form_search import choose
from training.models.item_item import ItemItem
from training.models.magnet.base_phase import BasePhase
from training.models.magnet.candidates import candidate_table
from training.models.magnet.config import MagnetConfig
from training.models.magnet.dual_view import DualViewBase, Graphs
from training.models.magnet.entropy import EntropySchedule
from training.models.magnet.experts import StructuredExperts
from training.models.magnet.fitted import FittedMagnet
from training.models.magnet.frozen import FrozenBase, aligned, concatenate, freeze
from training.models.magnet.roles import structured_experts
from training.models.magnet.router import LEAN, PairRouter
from training.models.magnet.router_phase import RouterPhase
from training.models.magnet.scored import Evidence, Mixture, gather_evidence
from training.models.protocol import FittedModel, Recipe, capped_histories

FIRST_BLEND = 2.0
"""Where the search for the item-item term's weight starts."""
ROUTER_USERS = 20_000


@dataclass(frozen=True)
class Chosen:
    """What validation chose, for the refit."""

    steps: tuple[int, ...]
    modules: tuple[DualViewBase, ...]
    positives: int
    reference: FrozenBase
    closed_form: ClosedFormSettings | None
    blend: float
    mixture: Mixture


class MagnetRecipe(Recipe):
    """MAGNET (arXiv 2602.20723) as SPEC.md sections 2 to 9 describe it."""

    name: ClassVar[str] = "magnet"
    config_type: ClassVar[type[BaseModel]] = MagnetConfig

    def fit(self, dataset: Dataset, split: Split, config: MagnetConfig, run: Run) -> FittedModel:
        """Steps 1 to 3."""
        content = content_graphs(dataset, config)
        present = presence(dataset)
        outcomes: dict[str, Outcome] = {}
        base_train, held_out = hold_out(split.train, config.router.held_out, run.seed)
        fitted = self._bases("held-out", base_train, content, dataset, split, config, run, outcomes)
        first = frozen(fitted)
        closed_form = choose_closed_form(split, content, config, run)
        term = item_item(base_train, content, closed_form, config, run)
        histories = capped_histories(replace(split, train=base_train, train_order=None), config.history_cap)
        blend = choose_blend(first, histories, term, split)
        evidence = gather_evidence(
            first, histories, present, term, blend, modalities(dataset), routed=config.item_item.routed
        )
        mixture, schedule = self._mixture(evidence, dataset, config, run, held_out, split, outcomes)

        fitted = self._bases("base", split.train, content, dataset, split, config, run, outcomes, continues=fitted)
        bases = aligned(frozen(fitted), first)
        term = item_item(split.train, content, closed_form, config, run)
        histories = capped_histories(split, config.history_cap)
        blend = choose_blend(bases, histories, term, split)
        evidence = gather_evidence(
            bases, histories, present, term, blend, modalities(dataset), routed=config.item_item.routed
        )
        steps = tuple(outcomes[phase.name].best_step for phase in fitted)
        modules = tuple(phase.module for phase in fitted)
        chosen = Chosen(steps, modules, split.train.nnz, bases, closed_form, blend, mixture)
        return FittedMagnet(
            evidence,
            mixture,
            modalities(dataset),
            chosen,
            config,
            facts(outcomes, schedule, blend, term),
            dataset.features,
        )

    def refit(
        self, fitted: FittedModel, dataset: Dataset, interactions: Split, config: MagnetConfig, run: Run
    ) -> FittedModel:
        """Step 4."""
        assert isinstance(fitted, FittedMagnet)
        chosen: Chosen = fitted.chosen
        content = content_graphs(dataset, config)
        graphs = Graphs(interactions.train, content, config.graph, run.device)
        phases = []
        for member, (steps, module) in enumerate(zip(chosen.steps, chosen.modules, strict=True)):
            phase = self._phase(f"refit-{member}", member, graphs, dataset, config, run, interactions, module)
            more = max(1, round(steps * interactions.train.nnz / chosen.positives))
            run_phase(phase, run, max_steps=more, evaluate_every=None)
            phases.append(phase)
        bases = aligned(frozen(phases), chosen.reference)
        term = item_item(interactions.train, content, chosen.closed_form, config, run)
        histories = capped_histories(interactions, config.history_cap)
        evidence = gather_evidence(
            bases, histories, presence(dataset), term, chosen.blend, modalities(dataset), routed=config.item_item.routed
        )
        return FittedMagnet(
            evidence,
            chosen.mixture,
            modalities(dataset),
            chosen,
            config,
            fitted.training_facts(),
            dataset.features,
        )

    def _phase(
        self,
        name: str,
        member: int,
        graphs: Graphs,
        dataset: Dataset,
        config: MagnetConfig,
        run: Run,
        split: Split,
        continues: DualViewBase | None,
    ) -> BasePhase:
        generator = torch.Generator().manual_seed(run.seed * 1000 + member)
        module = DualViewBase(graphs, dataset.features, config.graph, config.base, generator).to(run.device)
        return BasePhase(
            name,
            module,
            config.base,
            valid=split.valid,
            seen=split.train,
            seed=run.seed * 1000 + member,
            continues=continues,
        )

    def _bases(
        self,
        name: str,
        train: sparse.csr_array,
        content: Mapping[str, sparse.csr_array],
        dataset: Dataset,
        split: Split,
        config: MagnetConfig,
        run: Run,
        outcomes: dict[str, Outcome],
        continues: Sequence[BasePhase] | None = None,
    ) -> list[BasePhase]:
        graphs = Graphs(train, content, config.graph, run.device)
        phases = []
        for member in range(config.members):
            before = None if continues is None else continues[member].module
            phase = self._phase(f"{name}-{member}", member, graphs, dataset, config, run, split, before)
            epoch = phase.steps_per_epoch
            outcomes[phase.name] = run_phase(
                phase,
                run,
                max_steps=config.base.max_steps if before is None else config.base.continued_epochs * epoch,
                evaluate_every=max(config.base.evaluate_every, epoch) if before is None else epoch,
                patience=config.base.patience,
            )
            phases.append(phase)
        return phases

    def _mixture(
        self,
        evidence: Evidence,
        dataset: Dataset,
        config: MagnetConfig,
        run: Run,
        held_out: sparse.csr_array,
        split: Split,
        outcomes: dict[str, Outcome],
    ) -> tuple[Mixture, EntropySchedule]:
        settings = config.router
        generator = torch.Generator().manual_seed(run.seed)
        experts = StructuredExperts(
            structured_experts(modalities(dataset)),
            evidence.base.history.shape[1],
            settings.expert_width,
            settings.expert_scale,
            settings.dropout,
            generator,
        )
        router = PairRouter(
            torch.from_numpy(evidence.user_features),
            torch.from_numpy(evidence.item_features),
            torch.tensor([LEAN if role.role == "dominant" else 0.0 for role in experts.roles]),
            n_modalities=len(modalities(dataset)),
            hidden=settings.hidden,
            top_k=settings.top_k or len(modalities(dataset)),
            generator=generator,
        )
        mixture = Mixture(experts, router)
        schedule = EntropySchedule(config.entropy, settings.steps)
        rng = np.random.default_rng([run.seed, 7])
        fitted_on = candidate_table(
            evidence, some_users(held_out, rng), held_out, evidence.interactions, settings.candidates
        )
        selected_on = candidate_table(
            evidence, some_users(split.valid, rng), split.valid, split.train, settings.candidates
        )
        phase = RouterPhase(
            "router", evidence, mixture, schedule, settings, fitted_on=fitted_on, selected_on=selected_on, run=run
        )
        if len(experts.roles) > 1 and len(phase.usable):
            outcomes["router"] = run_phase(phase, run, max_steps=settings.steps, evaluate_every=50, patience=10_000)
        mixture.eval()
        return mixture, schedule


def frozen(phases: Sequence[BasePhase]) -> FrozenBase:
    """The fitted members side by side."""
    return concatenate([freeze(phase.module) for phase in phases])


def modalities(dataset: Dataset) -> list[str]:
    """Behaviour, then the content modalities in the dataset's order."""
    return ["behaviour", *dataset.features]


def presence(dataset: Dataset) -> NDArray[np.bool_]:
    """(I, M) which item has which modality; behaviour is always there, measured or inferred from neighbours."""
    columns = [np.ones(dataset.n_items, bool), *(matrix.present for matrix in dataset.features.values())]
    return np.stack(columns, axis=1)


def content_graphs(dataset: Dataset, config: MagnetConfig) -> dict[str, sparse.csr_array]:
    """The frozen content graph of every content modality."""
    return {
        name: content_knn(matrix.values, matrix.present, k=config.graph.neighbours, hub_cap=config.graph.hub_cap)
        for name, matrix in dataset.features.items()
    }


def hold_out(train: sparse.csr_array, share: float, seed: int) -> tuple[sparse.csr_array, sparse.csr_array]:
    """Take `share` of the positives of users and items that have more than two out of `train`.

    Returns:
        the rest and what was held out, both (U, I).

    """
    rng = np.random.default_rng([seed, 3])
    users = np.repeat(np.arange(train.shape[0]), np.diff(train.indptr))
    items = train.indices
    many = (np.diff(train.indptr)[users] > 2) & (np.bincount(items, minlength=train.shape[1])[items] > 2)
    out = many & (rng.random(len(items)) < share)

    def matrix(chosen: NDArray[np.bool_]) -> sparse.csr_array:
        ones = np.ones(int(chosen.sum()), np.float32)
        return sparse.csr_array((ones, (users[chosen], items[chosen])), shape=train.shape)

    return matrix(~out), matrix(out)


def some_users(positives: sparse.csr_array, rng: np.random.Generator) -> NDArray[np.int64]:
    """Users with a positive; a sample of them where there are very many."""
    rows = np.flatnonzero(np.diff(positives.indptr)).astype(np.int64)
    return rows if len(rows) <= ROUTER_USERS else np.sort(rng.choice(rows, ROUTER_USERS, replace=False))


def choose_closed_form(
    split: Split, content: Mapping[str, sparse.csr_array], config: MagnetConfig, run: Run
) -> ClosedFormSettings | None:
    """λ and the content prior of the item-item model, by validation; None where the term is off or too large."""
    if not config.item_item.enabled or why_off(split.train.shape[1]):
        return None
    with run.bar("closed form", 1) as advance:
        settings = choose(split.train, split.valid, content, seed=run.seed, device=run.device)
        advance(f"λ {settings.reg:.0f}")
    return settings


def item_item(
    train: sparse.csr_array,
    content: Mapping[str, sparse.csr_array],
    settings: ClosedFormSettings | None,
    config: MagnetConfig,
    run: Run,
) -> ItemItem | None:
    """The item-item model of these interactions."""
    if settings is None:
        return None
    return fit_closed_form(train, content, settings, per_row=config.item_item.neighbours, device=run.device)


def choose_blend(base: FrozenBase, histories: sparse.csr_array, term: ItemItem | None, split: Split) -> float:
    """The weight of the item-item term that ranks validation best beside the base."""
    if term is None:
        return 0.0
    users, candidates = base.users(histories), base.candidates
    total = term.matrix()
    rows = np.flatnonzero(np.diff(split.valid.indptr)).astype(np.int64)
    rows = rows[:: max(1, len(rows) // ROUTER_USERS)]
    positives = split.valid[rows]

    def quality(weight: float) -> float:
        ranks = rank_positives(
            lambda block: users[block] @ candidates.T + weight * (histories[block] @ total).toarray(),
            positives,
            split.train,
            rows,
        )
        return float((recall_at(20, ranks, positives.indptr) + ndcg_at(20, ranks, positives.indptr)).mean())

    return best_weight(quality)


def best_weight(quality: Callable[[float], float]) -> float:
    """The non-negative weight of highest quality, to within √2: doubling or halving from `FIRST_BLEND`, then between.

    How large the term's values are depends on the data, so no fixed grid would do.
    """
    tried = {weight: quality(weight) for weight in (0.0, FIRST_BLEND)}
    for factor in (2.0, 0.5):
        weight, worse = FIRST_BLEND * factor, 0
        while worse < 2 and 1e-3 < weight < 1e4:
            tried[weight] = quality(weight)
            worse = 0 if tried[weight] >= max(tried.values()) else worse + 1
            weight *= factor
    best = max(tried, key=tried.__getitem__)
    tried |= {weight: quality(weight) for weight in (best / 2**0.5, best * 2**0.5) if best}
    return max(tried, key=tried.__getitem__)


def facts(
    outcomes: Mapping[str, Outcome], schedule: EntropySchedule, blend: float, term: ItemItem | None
) -> dict[str, Any]:
    """What metrics.json says about the training.

    Epochs are passes of the base over its positives until it is measured, all members together; the stage switch is
    counted in passes of the router over the users it is fitted on.
    """
    base = [outcome for name, outcome in outcomes.items() if name.startswith(("held-out-", "base-"))]
    epochs = sum(outcome.epochs for outcome in base)
    switched = None
    if schedule.second_stage and "router" in outcomes:
        switched = round(int(schedule.switch_step) / outcomes["router"].steps_per_epoch, 2)
    return {
        "best_steps": [outcome.best_step for name, outcome in outcomes.items() if name.startswith("base-")],
        "steps": sum(outcome.steps for outcome in base),
        "epochs": round(epochs, 2),
        "seconds_per_epoch": round(sum(outcome.seconds for outcome in base) / max(epochs, 1e-9), 3),
        "seconds": round(sum(outcome.seconds for outcome in outcomes.values()), 2),
        "stage_switch_step": int(schedule.switch_step) if schedule.second_stage else None,
        "stage_switch_epoch": switched,
        "item_item_weight": blend,
        "item_item": None if term is None else dict(term.facts),
        "phases": {
            name: {"best_step": o.best_step, "steps": o.steps, "seconds": round(o.seconds, 2)}
            for name, o in outcomes.items()
        },
    }
