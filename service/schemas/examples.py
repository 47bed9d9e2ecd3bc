"""What calls and their answers look like, for the OpenAPI document: one small story, held to the schemas by a test."""

from __future__ import annotations

from typing import Any, NamedTuple

SNAPSHOT = "3f9c1d0a7be24c5f8a61e0d92b7c4f13"
BEFORE = "b81e44c2a90d4f7c9d3e5a6b7c8d9e0f"
IMAGE = "5c1f0e9d8b7a69584736251403f2e1d0c9b8a7968574635241302f1e0d9c8b7a"
ANSWER_ID = "01a1fabcf631aeae8c39950a122bdb95"
DAY = "2026-10-01T12:00:00+00:00"


class Example(NamedTuple):
    """Of one call."""

    answer: Any
    body: Any = None
    """What is sent; None where nothing is."""


TERMS: list[dict[str, Any]] = [
    {
        "name": "item-item",
        "role": "base",
        "modalities": {"behaviour": 0.9, "visual": 0.02, "textual": 0.08},
        "weight": None,
        "contribution": 1.89,
    },
    {
        "name": "dominant-visual",
        "role": "dominant",
        "modalities": {"behaviour": 0.15, "visual": 0.7, "textual": 0.15},
        "weight": 1.0,
        "contribution": 2.02,
    },
]
AMOUNTS = {"behaviour": 2.004, "visual": 1.4518, "textual": 0.4542}
BECAUSE = [{"item": "item-3", "title": "A blue lamp", "amount": 1.2, "exact": 1.1, "attributed": 0.1}]
NAMED = {"item": "item-7", "title": "A red lamp", "image": IMAGE}
ITEM = NAMED | {"categories": ["Lamps"], "description": "It shines. It is red."}
ANSWER = {
    "user": "user-1",
    "snapshot": SNAPSHOT,
    "recommendation_id": ANSWER_ID,
    "strategy": "personalised",
    "events_used": 0,
    "complete": True,
    "degraded": [],
    "items": [NAMED | {"rank": 1, "score": 3.91, "experts": TERMS}],
    "next": f"/recommend/user-1?k=1&offset=1&at={SNAPSHOT}.0.1.5966666",
}
FAITHFULNESS = {"perturbation": {"frozen": {"whole": 0.84, "routed": 0.81}}}
EXPLANATION = NAMED | {
    "user": "user-1",
    "snapshot": SNAPSHOT,
    "recommendation_id": ANSWER_ID,
    "strategy": "personalised",
    "score": 3.91,
    "experts": TERMS,
    "modality_amounts": AMOUNTS,
    "because": BECAUSE,
    "faithfulness": FAITHFULNESS,
}
EVENT = {"event_id": "7d1f0c52", "user": "user-1", "item": "item-7", "type": "click", "timestamp": 1790000000.0}
MOVED = {"snapshot": SNAPSHOT, "previous": BEFORE}
STORED = {
    "current": True,
    "model": "magnet",
    "dataset": "demo",
    "created_at": DAY,
    "recall": 0.31,
    "snapshot": SNAPSHOT,
}

EXAMPLES: dict[tuple[str, str], Example] = {
    ("GET", "/recommend/{user_id}"): Example(ANSWER),
    ("POST", "/recommend"): Example(
        {"snapshot": SNAPSHOT, "answers": [ANSWER]}, {"users": ["user-1"], "k": 1, "steer": ["visual:1.5"]}
    ),
    ("POST", "/recommend/session"): Example(
        ANSWER | {"user": None, "strategy": "session", "next": None}, {"items": ["item-5", "item-3"], "k": 1}
    ),
    ("GET", "/similar/{item_id}"): Example(
        {
            "item": "item-3",
            "snapshot": SNAPSHOT,
            "by": "visual",
            "complete": True,
            "items": [NAMED | {"rank": 1, "similarity": 0.93}],
        }
    ),
    ("GET", "/explain"): Example(EXPLANATION),
    ("GET", "/explain/{user_id}"): Example(
        {
            "user": "user-1",
            "snapshot": SNAPSHOT,
            "strategy": "personalised",
            "history_length": 6,
            "items_considered": 100,
            "experts": [
                {key: term[key] for key in ("name", "role", "modalities")} | {"mean_weight": weight, "share": 0.5}
                for term, weight in zip(TERMS, (None, 0.61), strict=True)
            ],
            "modality_shares": {"behaviour": 0.51, "visual": 0.37, "textual": 0.12},
        }
    ),
    ("GET", "/experts"): Example(
        {
            "snapshot": SNAPSHOT,
            "model": "magnet",
            "top_k": 3,
            "routed_variance_share": 0.81,
            "experts": [
                {key: TERMS[1][key] for key in ("name", "role", "modalities")}
                | {"use": {"share_of_pairs": 0.41, "mean_weight": 0.2}}
            ],
            "routing": {"share_of_pairs": {"dominant-visual": 0.41}, "mean_weight": {"dominant-visual": 0.2}},
            "explanation": FAITHFULNESS,
            "candidates": {"depth": 100, "recall": {"recall@20": 0.999}, "steered_depth": {"visual:2": 100}},
        }
    ),
    ("POST", "/events"): Example({"accepted": 1, "duplicates": 0}, {"events": [EVENT]}),
    ("DELETE", "/users/{user_id}"): Example({"user": "user-1", "forgotten": True}),
    ("GET", "/users/{user_id}"): Example(
        {"user": "user-1", "snapshot": SNAPSHOT, "known_to_snapshot": True, "history": [ITEM | {"item": "item-3"}]}
    ),
    ("GET", "/users"): Example({"users": ["user-1", "user-10"]}),
    ("PUT", "/items/{item_id}"): Example(
        {
            "item": "item-7",
            "snapshot": SNAPSHOT,
            "recommendable": True,
            "modalities": {"behaviour": True, "visual": False, "textual": True},
            "inferred": ["behaviour"],
        },
        {"title": "A red lamp", "categories": ["Lamps"], "description": "It shines. It is red."},
    ),
    ("DELETE", "/items/{item_id}"): Example({"item": "item-7", "hidden": True}),
    ("GET", "/items/{item_id}"): Example(
        ITEM
        | {
            "snapshot": SNAPSHOT,
            "popularity": 17.5,
            "interactions": 31,
            "modalities": {"behaviour": True, "visual": True, "textual": True},
        }
    ),
    ("GET", "/items"): Example({"items": [ITEM]}),
    ("GET", "/snapshot"): Example(
        {
            "snapshot": SNAPSHOT,
            "model": "magnet",
            "dataset": "demo",
            "created_at": DAY,
            "loaded_at": DAY,
            "n_users": 2000,
            "n_items": 1200,
            "index": "faiss-cpu flat",
            "documents": ["report", "model-card", "history"],
            "manifest": {"format_version": 1, "scoring": "pair", "embedding_size": 128},
        }
    ),
    ("GET", "/snapshots"): Example({"snapshots": [STORED]}),
    ("POST", "/admin/activate"): Example(MOVED, {"snapshot": SNAPSHOT}),
    ("POST", "/admin/rollback"): Example(MOVED),
    ("GET", "/livez"): Example({"status": "alive"}),
    ("GET", "/readyz"): Example(
        {
            "status": "degraded",
            "snapshot": SNAPSHOT,
            "index": "faiss-cpu flat",
            "onnx": {"user_encoder": "CPUExecutionProvider", "item_encoder": "CPUExecutionProvider"},
            "degraded": ["the state store is unavailable: redis: ConnectionError: connection refused"],
        }
    ),
    ("GET", "/metrics"): Example('magnet_answers_total{strategy="personalised"} 1027.0\n'),
}
"""By method and path. Calls that answer with a file have none."""
