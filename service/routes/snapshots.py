"""The served snapshot, the documents it came with (report, model card, fitting history), and what the store holds."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

from fastapi import APIRouter, Path
from fastapi.responses import FileResponse

from model_store.errors import StoreError
from model_store.store import Store, StoredSnapshot
from service.errors import InvalidRequest, NotReady, StoreUnavailable, UnknownDocument, documented
from service.routes.context import Served, ServiceParts
from service.schemas.lookups import SnapshotDetails
from service.schemas.snapshots import Snapshots

router = APIRouter(tags=["look-ups"])


class DocumentName(StrEnum):
    """What of a snapshot can be read."""

    REPORT = "report"
    MODEL_CARD = "model-card"
    HISTORY = "history"


_FILES = {
    DocumentName.REPORT: ("report.html", "text/html"),
    DocumentName.MODEL_CARD: ("MODEL_CARD.md", "text/markdown"),
    DocumentName.HISTORY: ("history.json", "application/json"),
}
# The report is one file that needs nothing else: its style is inside, its figures are data. Nothing in it may run.
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; sandbox",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


@router.get("/snapshot", response_model=SnapshotDetails, responses=documented(NotReady))
async def snapshot(served: Served) -> dict[str, Any]:
    """What is served."""
    manifest = served.manifest
    return {
        "snapshot": served.id,
        "model": manifest.model,
        "dataset": manifest.dataset,
        "created_at": manifest.created_at.isoformat(),
        "loaded_at": served.loaded_at.isoformat(),
        "n_users": manifest.n_users,
        "n_items": manifest.n_items,
        "index": served.index_name,
        "documents": [name for name, (file, _) in _FILES.items() if served.snapshot.file(file) is not None],
        "manifest": manifest.model_dump(mode="json", exclude={"files", "arrays"}),
    }


@router.get("/snapshots", response_model=Snapshots, responses=documented(NotReady, StoreUnavailable))
async def snapshots(service: ServiceParts) -> dict[str, Any]:
    """The snapshots in the store, newest first, and which of them is current."""
    store = Store(service.settings.store)
    try:
        stored = await service.workbench.run("list snapshots", store.snapshots)
    except (StoreError, OSError) as error:
        raise StoreUnavailable(str(error)) from error
    return {"snapshots": [_line(entry) for entry in stored]}


@router.get(
    "/snapshot/{document}",
    response_class=FileResponse,
    responses=documented(UnknownDocument, InvalidRequest, NotReady)
    | {200: {"content": {media_type: {} for _, media_type in _FILES.values()}}},
)
async def document(served: Served, document: Annotated[DocumentName, Path(description="Which one.")]) -> FileResponse:
    """What the served snapshot came with: training report (HTML), model card (Markdown), fitting history (JSON)."""
    name, media_type = _FILES[document]
    path = served.snapshot.file(name)
    if path is None or not path.is_file():  # pruned, though still served
        raise UnknownDocument(f"the snapshot {served.id} holds no {name}")
    return FileResponse(path, media_type=media_type, headers=_HEADERS)


def _line(entry: StoredSnapshot) -> dict[str, Any]:
    line = {"snapshot": entry.snapshot, "current": entry.is_current, "problem": entry.problem}
    if entry.manifest is None:
        return line
    test = entry.manifest.metrics.get("test")
    return line | {
        "model": entry.manifest.model,
        "dataset": entry.manifest.dataset,
        "created_at": entry.manifest.created_at.isoformat(),
        "recall": test.get("recall@20") if isinstance(test, dict) else None,
    }
