"""How MAGNET is made: phase A (the base), phase B (experts and router), and both again on everything for serving.

    1. Hold out a share of the training positives; fit the base and the closed form on the rest.
    2. Fit experts and router on the held-out positives: positives that the base has fitted would leak.
    3. Continue the base on all training positives and turn it into the first one's coordinates; the router, being a
       function of what nodes are, and the experts hold for it. This is the model that is measured.
    4. `refit`: step 3 once more on all interactions, for the number of epochs that step 3 chose. This one is served.

With `router.joint` the base of step 1 and the mixture of step 2 are fitted at once. Everything that is chosen is chosen
on validation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel
from scipy import sparse

from training.data.dataset import Dataset
from training.data.splits import Split
from training.fit.loop import Outcome, run_phase
from training.fit.run import Run
from training.models.blend import best_weight, choose_blend, choose_closed_form, item_item
from training.models.closed_form import ClosedFormSettings
from training.models.item_item import ItemItem
from training.models.magnet.base_phase import BasePhase
from training.models.magnet.candidates import CandidateTable, candidate_table
from training.models.magnet.config import MagnetConfig
from training.models.magnet.dual_view import DualViewBase, Graphs
from training.models.magnet.entropy import EntropySchedule
from training.models.magnet.fitted import FittedMagnet
from training.models.magnet.frozen import FrozenBase, aligned, concatenate, freeze
from training.models.magnet.joint_phase import JointPhase, ReadBase
from training.models.magnet.material import (
    can_route,
    content_graphs,
    hold_out,
    on_warm_items,
    presence,
    router_users,
)
from training.models.magnet.new_items import (
    FormSettings,
    as_if_new,
    choose_exposure,
    choose_form,
    content_of,
    fit_form,
    with_new_items,
)
from training.models.magnet.router_phase import RouterPhase, fresh_mixture
from training.models.magnet.scored import Evidence, Mixture, gather_evidence
from training.models.magnet.table_scores import TableScores
from training.models.protocol import FittedModel, Recipe, capped_histories, modalities

DEPARTURES = (1.0, 0.5, 0.25, 0.0)
"""Shares of what experts and router learned, among which validation chooses.

At 0 the mixture is as it starts: the plain sum, where as many experts are kept as there are modalities.
"""


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
    form: FormSettings | None
    exposure: float


class MagnetRecipe(Recipe):
    """MAGNET, after the abstract of arXiv 2602.20723: two views, structured experts, entropy-triggered routing."""

    name: ClassVar[str] = "magnet"
    config_type: ClassVar[type[BaseModel]] = MagnetConfig

    def fit(self, dataset: Dataset, split: Split, config: MagnetConfig, run: Run) -> FittedModel:
        """Steps 1 to 3."""
        content = content_graphs(dataset, config)
        outcomes: dict[str, Outcome] = {}
        rest, held_out = hold_out(split, config.router.held_out, run.seed)
        # new items stand with `SparseScores.entry` instead of their neighbours' rows
        closed_form = choose_closed_form(on_warm_items(split), content, config.item_item, run, new_items=False)
        known = content_of(dataset.features, content, split.train)
        term = item_item(rest.train, content, closed_form, config.item_item, run)
        jointly = None
        if config.router.joint and can_route(dataset, held_out, on_warm_items(split).valid):
            jointly = self._jointly(rest, held_out, content, term, dataset, split, config, run, outcomes)
            without = [jointly.base]
        else:
            without = self._bases("held-out", rest.train, content, dataset, split, config, run, outcomes)
        reference = frozen(without)
        form = None if known is None else choose_form(reference, known, reference.users(rest.train), split, run.seed)
        before, _ = self._evidence(reference, rest, content, term, form, dataset, config)

        phases = self._bases("base", split.train, content, dataset, split, config, run, outcomes, continues=without)
        base = aligned(frozen(phases), reference)
        term = item_item(split.train, content, closed_form, config.item_item, run)
        evidence, blend = self._evidence(base, split, content, term, form, dataset, config)

        users, judges = router_users(held_out, on_warm_items(split).valid, run.seed)
        if jointly is None:
            fitted_on = fitting_table(before, users, held_out, split, config)
            selected_on = judging_table(before, judges, split, config)
            mixture, schedule = self._mixture(before, (fitted_on, selected_on), dataset, config, run, outcomes)
        else:
            mixture, schedule = jointly.mixture, jointly.schedule
        mixture.eval()
        mixture, judged = best_departure(evidence, mixture, judging_table(evidence, judges, split, config))
        evidence = evidence.weighted(judged["factor"])
        blend *= judged["factor"]
        exposure = config.cold_exposure or 0.0
        if config.cold_exposure is None and known is not None and form is not None:
            form, exposure = choose_exposure(evidence, mixture, known, form, split, config.cold_cost, run.seed)
            evidence = as_if_new(evidence, known, form, ~known.warm)
        evidence = replace(evidence, exposure=exposure)
        steps = tuple(outcomes[phase.name].best_step for phase in phases)
        modules = tuple(phase.module for phase in phases)
        chosen = Chosen(steps, modules, split.train.nnz, base, closed_form, blend, mixture, form, evidence.exposure)
        about = facts(outcomes, schedule, blend, evidence.item_item) | {"mixture": judged}
        about |= {"new_items": (asdict(form) if form else {}) | {"cold_exposure": evidence.exposure}}
        return FittedMagnet(evidence, mixture, modalities(dataset), chosen, config, about, dataset.features)

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
        base = aligned(frozen(phases), chosen.reference)
        term = item_item(interactions.train, content, chosen.closed_form, config.item_item, run)
        evidence, _ = self._evidence(
            base, interactions, content, term, chosen.form, dataset, config, blend=chosen.blend
        )
        evidence = replace(evidence, exposure=chosen.exposure)
        about = fitted.training_facts()
        return FittedMagnet(evidence, chosen.mixture, modalities(dataset), chosen, config, about, dataset.features)

    def _evidence(
        self,
        base: FrozenBase,
        split: Split,
        content: Mapping[str, sparse.csr_array],
        term: ItemItem | None,
        form: FormSettings | None,
        dataset: Dataset,
        config: MagnetConfig,
        *,
        blend: float | None = None,
    ) -> tuple[Evidence, float]:
        """What there is to read for users with the histories of `split.train`, and the item-item term's weight."""
        known = content_of(dataset.features, content, split.train)
        if known is not None and form is not None:
            base = with_new_items(base, fit_form(base, known, form), known)
        histories = capped_histories(split, config.history_cap)
        degree = np.bincount(split.train.indices, minlength=dataset.n_items).astype(np.float32)
        if blend is None:
            users = base.users(histories)
            blend = choose_blend(
                lambda block: np.where(degree > 0, users[block] @ base.candidates.T, -np.inf),
                histories,
                term,
                on_warm_items(split),
            )
        evidence = gather_evidence(
            base,
            histories,
            presence(dataset),
            term,
            blend,
            modalities(dataset),
            degree=degree,
            routed=config.item_item.placement != "beside",
        )
        return evidence, blend

    def _jointly(
        self,
        rest: Split,
        held_out: sparse.csr_array,
        content: Mapping[str, sparse.csr_array],
        term: ItemItem | None,
        dataset: Dataset,
        split: Split,
        config: MagnetConfig,
        run: Run,
        outcomes: dict[str, Outcome],
    ) -> JointPhase:
        """Base and mixture fitted together on the `rest` and the held-out positives."""
        users, judges = router_users(held_out, on_warm_items(split).valid, run.seed)

        def read(base: FrozenBase, drawn_by: np.random.Generator | None) -> ReadBase:
            evidence, _ = self._evidence(base, rest, content, term, None, dataset, config)
            fitted_on = fitting_table(evidence, users, held_out, split, config, drawn_by)
            return ReadBase(evidence, fitted_on, judging_table(evidence, judges, split, config))

        graphs = Graphs(rest.train, content, config.graph, run.device)
        base = self._phase("joint", 0, graphs, dataset, config, run, split, None)
        start = read(freeze(base.module), np.random.default_rng([run.seed, 10]))
        schedule = EntropySchedule(config.entropy, min(config.router.steps, config.base.max_steps))
        mixture = fresh_mixture(start.evidence, modalities(dataset), config.router, run.seed)
        phase = JointPhase(base, mixture, schedule, config.router, start, lambda frozen: read(frozen, None), run)
        outcomes[phase.name] = run_phase(
            phase,
            run,
            max_steps=config.base.max_steps,
            evaluate_every=max(config.base.evaluate_every, phase.steps_per_epoch),
            patience=config.base.patience,
        )
        return phase

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
        tables: tuple[CandidateTable, CandidateTable],
        dataset: Dataset,
        config: MagnetConfig,
        run: Run,
        outcomes: dict[str, Outcome],
    ) -> tuple[Mixture, EntropySchedule]:
        """A mixture fitted on the first table and chosen on the second; the plain sum where either is empty."""
        fitted_on, selected_on = tables
        settings = config.router
        mixture = fresh_mixture(evidence, modalities(dataset), settings, run.seed)
        schedule = EntropySchedule(config.entropy, settings.steps)
        phase = RouterPhase(
            "router", evidence, mixture, schedule, settings, fitted_on=fitted_on, selected_on=selected_on, run=run
        )
        if len(mixture.experts.roles) > 1 and len(phase.usable) and len(selected_on.user_rows):
            outcomes["router"] = run_phase(phase, run, max_steps=settings.steps, evaluate_every=50, patience=10_000)
        else:  # no more than the chance of initial values is in it
            mixture = mixture.departed(0.0)
        return mixture, schedule


def fitting_table(
    evidence: Evidence,
    users: NDArray[np.int64],
    held_out: sparse.csr_array,
    split: Split,
    config: MagnetConfig,
    drawn_by: np.random.Generator | None = None,
) -> CandidateTable:
    """Candidates of users with held-out positives: what a mixture is fitted on."""
    known = sparse.csr_array(split.train - held_out)
    count, warm = config.router.candidates, evidence.degree > 0
    return candidate_table(evidence, users, held_out, known, count, among=warm, drawn_by=drawn_by)


def judging_table(evidence: Evidence, users: NDArray[np.int64], split: Split, config: MagnetConfig) -> CandidateTable:
    """Candidates of users with validation positives: what a mixture is chosen on."""
    count, warm = config.router.candidates, evidence.degree > 0
    return candidate_table(evidence, users, on_warm_items(split).valid, split.train, count, among=warm)


def frozen(phases: Sequence[BasePhase]) -> FrozenBase:
    """The fitted members side by side."""
    return concatenate([freeze(phase.module) for phase in phases])


def mean_quality(figures: Mapping[str, float]) -> float:
    """The mean of Recall and NDCG at 20: what is compared wherever something is chosen."""
    return (figures["recall@20"] + figures["ndcg@20"]) / 2


def best_departure(evidence: Evidence, mixture: Mixture, table: CandidateTable) -> tuple[Mixture, dict[str, float]]:
    """The mixture as far from the plain sum as ranks `table` best, each with the item-item weight that suits it.

    What was learned on few held-out positives overshoots: a part of it is often better than all of it, or than none.
    The item-item weight was chosen for the sum; a mixture that reads behaviour less wants it larger. Where there is
    nobody to rank for, the plain sum is kept.

    Returns:
        the mixture, and what was judged: the share of what it learned that is kept (`departure`), what the item-item
        term's weight is multiplied by (`factor`), and the quality of the plain sum (`static`) and of the mixture
        (`mixture`), each the mean of Recall and NDCG at 20 among the candidates.

    """
    if not len(table.user_rows):
        return mixture.departed(0.0), {"departure": 0.0, "factor": 1.0}
    chosen, judged = mixture, {"departure": 0.0, "factor": 1.0, "mixture": -np.inf}
    for share in DEPARTURES:
        candidate = mixture.departed(share)
        scores = TableScores(evidence, candidate, table).by_weight()
        quality = cache(lambda factor, scores=scores: mean_quality(scores.quality(factor)))
        factor = 1.0 if evidence.item_item is None else best_weight(quality)
        if quality(factor) > judged["mixture"]:
            chosen, judged = candidate, {"departure": share, "factor": factor, "mixture": quality(factor)}
    return chosen, judged | {"static": mean_quality(TableScores(evidence, mixture, table).static_quality())}


def facts(
    outcomes: Mapping[str, Outcome], schedule: EntropySchedule, blend: float, term: ItemItem | None
) -> dict[str, Any]:
    """What metrics.json says about the training.

    Epochs are passes of the base over its positives until it is measured, all members together; the stage switch is
    counted in passes of the router over the users it is fitted on, or, where both are fitted together, of the base.
    """
    base = [outcome for name, outcome in outcomes.items() if name.startswith(("held-out-", "joint", "base-"))]
    epochs = sum(outcome.epochs for outcome in base)
    switched = None
    router = [outcome for name, outcome in outcomes.items() if name in {"router", "joint"}]
    if schedule.second_stage and router:
        switched = round(int(schedule.switch_step) / router[-1].steps_per_epoch, 2)
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
