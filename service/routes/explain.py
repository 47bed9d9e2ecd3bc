"""`GET /explain`, `GET /explain/{user_id}` and `GET /experts`."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Query, Request
from numpy.typing import NDArray

from service.envelope import RequestContext
from service.errors import Expired, InvalidRequest, NotReady, StateUnavailable, UnknownItem, UnknownUser, documented
from service.explanation import because_of, evidence
from service.imprint import Imprint
from service.printed import Page
from service.routes.context import Served, ServiceParts, context_of
from service.routes.ids import UserId
from service.schemas.answers import Explanation, Profile
from service.schemas.lookups import Experts
from service.schemas.queries import ExplainQuery
from service.state.answers import KeptAnswer
from service.view import View

router = APIRouter(tags=["explain"])


@router.get(
    "/explain",
    response_model=Explanation,
    responses=documented(UnknownUser, UnknownItem, Expired, InvalidRequest, NotReady, StateUnavailable),
)
async def explain(
    request: Request, service: ServiceParts, served: Served, pair: Annotated[ExplainQuery, Query()]
) -> dict[str, Any]:
    """One pair in full: terms, modality amounts, the history behind it, and how far such explanations hold."""
    if pair.recommendation_id is not None:
        return await _kept(service, context_of(request), pair.recommendation_id, pair.item)
    assert pair.user is not None
    asker, page = await service.recommender.explain(served, pair.user, pair.item)
    view = service.catalogue.view(served)
    row = int(page.rows[0])
    display = view.display(row)
    return {
        "user": pair.user,
        "item": pair.item,
        "snapshot": served.id,
        "strategy": asker.strategy,
        "title": display.title,
        "image": display.image,
        "inferred": view.inferred(row) or None,
        **_numbers(page, 0, asker.strategy, served.imprint),
        "because": await _because(service, view, asker.history_rows, row),
        "faithfulness": served.imprint.faithfulness,
    }


@router.get(
    "/explain/{user_id:id}",
    response_model=Profile,
    responses=documented(UnknownUser, InvalidRequest, NotReady, StateUnavailable),
)
async def profile(service: ServiceParts, served: Served, user_id: UserId) -> dict[str, Any]:
    """A user's expert profile: which terms and modalities carry the scores of the user's best items."""
    asker, found = await service.recommender.profile(served, user_id)
    return {
        "user": user_id,
        "snapshot": served.id,
        "strategy": asker.strategy,
        "history_length": len(asker.history_rows),
        "items_considered": found.items_considered,
        "experts": [
            {**vars(entry.head), "mean_weight": entry.mean_weight, "share": entry.share} for entry in found.entries
        ],
        "modality_shares": found.modality_shares,
    }


@router.get("/experts", response_model=Experts, responses=documented(NotReady))
async def experts(served: Served) -> dict[str, Any]:
    """The experts, their roles and modality weights, and what was measured of them at export.

    That is how much they are used, how much of the score they carry, how far explanations hold, and how much of the
    exact answers is among the candidates, for every steering too.
    """
    manifest = served.manifest
    measured = {name: values for name, values in manifest.routing.items() if isinstance(values, dict)}
    return {
        "snapshot": served.id,
        "model": manifest.model,
        "top_k": manifest.top_k_experts or None,
        "routed_variance_share": manifest.routed_variance_share,
        "experts": [
            {**vars(head), "use": {name: values[head.name] for name, values in measured.items() if head.name in values}}
            for head in served.terms
        ],
        "routing": manifest.routing,
        "explanation": served.imprint.faithfulness,
        "candidates": manifest.candidates.model_dump(mode="json"),
    }


async def _kept(service: ServiceParts, context: RequestContext, recommendation_id: str, item_id: str) -> dict[str, Any]:
    """The very values of a kept answer. Raises `Expired`, or `UnknownItem` for an item that was not in it."""
    kept = await service.recommender.kept(recommendation_id)
    imprint = None if kept is None else await service.recall.imprint(kept.snapshot_id)
    if kept is None or imprint is None:
        raise Expired(f"recommendation_id {recommendation_id!r}: not kept, or no longer; use user and item")
    context.recalled = kept.snapshot_id
    found = kept.find(item_id, imprint)
    if found is None:
        raise UnknownItem(f"item {item_id!r} is not in answer {recommendation_id}")
    position, display, inferred = found
    return {
        "user": kept.user_id,
        "item": item_id,
        "snapshot": kept.snapshot_id,
        "recommendation_id": recommendation_id,
        "strategy": kept.strategy,
        "title": display.title,
        "image": display.image,
        "inferred": inferred or None,
        **_numbers(kept.page, position, kept.strategy, imprint),
        "because": await _recalled(service, kept, item_id),
        "faithfulness": imprint.faithfulness,
    }


async def _recalled(service: ServiceParts, kept: KeptAnswer, item_id: str) -> list[dict[str, Any]] | None:
    """What the history had to do with it, from the snapshot that gave the answer, in memory or out of the store."""
    if kept.history_rows is not None and len(kept.history_rows) == 0:
        return []
    served = service.deployment.loaded(kept.snapshot_id)
    view = await service.recall.view(kept.snapshot_id) if served is None else service.catalogue.view(served)
    row = None if view is None else view.item_row(item_id)
    if view is None or row is None:
        return None
    history = view.served.history(kept.user_row) if kept.user_row is not None else kept.history_rows
    assert history is not None
    return await _because(service, view, history, row)


async def _because(
    service: ServiceParts, view: View, history_rows: NDArray[np.int32], row: int
) -> list[dict[str, Any]]:
    work = partial(_evident, view, history_rows, row)
    return await service.workbench.run("because", work, waits=view.served.waits)


def _evident(view: View, history_rows: NDArray[np.int32], row: int) -> list[dict[str, Any]]:
    return because_of(view, evidence(view, history_rows), row)


def _numbers(page: Page, position: int, strategy: str, imprint: Imprint) -> dict[str, Any]:
    return {
        "score": float(page.scores[position]),
        "experts": page.terms_at(position, imprint.heads(strategy)),
        "modality_amounts": page.amounts_at(position, imprint.modalities),
    }
