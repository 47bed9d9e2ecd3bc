"""Whatever the OpenAPI document allows, and what it forbids, sent to the service: Schemathesis with every check on."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from fastapi import FastAPI
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from pydantic import SecretStr
from schemathesis import Case, GenerationMode
from schemathesis.checks import load_all_checks
from schemathesis.core.failures import FailureGroup
from schemathesis.core.result import Ok
from starlette.testclient import TestClient

from service.app import create_app
from service.settings import Settings
from tests.reliability.conftest import Record
from tests.support.service_client import promoted
from tests.support.tiny_encoder import tiny_item_encoder
from tests.support.tiny_snapshot import EXPERTS, FEATURE_WIDTH, MODALITIES, write_tiny_pair_snapshot

KEY = {"Authorization": "Bearer admin"}
BEYOND_SCHEMAS = re.compile(
    r"""offset\ \+\ k\ is | steer:\ expected\ one\ of | steer\ names\ something\ twice | query\.at | \bat:
    | query\.user:\ String\ should\ have | give\ either\ user\ or\ recommendation_id
    | expected\ a\ value\ with\ type\ 'rating'
    | features\b | image\b | \bby:\ expected | expected\ (an\ id|1\ to\ 512\ bytes|UTF-8)""",
    re.VERBOSE,
)
"""Rules about two fields at once, the served model, bytes, or a null in a query: OpenAPI has no words for them."""


@pytest.fixture
def app(tmp_path: Path) -> Iterator[FastAPI]:
    """The service with keys, a limit on rates, and a snapshot that can take new items."""
    root = tmp_path / "store"  # one per test: Schemathesis ends an application that it was given
    encoder = tiny_item_encoder(MODALITIES, FEATURE_WIDTH, width=8, n_experts=len(EXPERTS), residual_width=4)
    promoted(root, write_tiny_pair_snapshot(root, n_items=60, files={"item_encoder.onnx": encoder}))
    keys = {"api_keys": SecretStr("ordinary"), "admin_key": SecretStr("admin")}
    app = create_app(Settings(store=root, rate_limit="1000000/second", **keys))  # type: ignore[arg-type]
    with TestClient(app):
        yield app


@pytest.mark.parametrize("examples", [2, pytest.param(8, marks=pytest.mark.slow)])
def test_every_call_with_every_check(app: FastAPI, examples: int, record: Record) -> None:
    load_all_checks()
    schema = schemathesis.openapi.from_asgi("/openapi.json", app, headers=KEY)
    operations = [result.ok() for result in schema.get_all_operations() if isinstance(result, Ok)]
    assert len(operations) > 20
    tried = 0
    found: dict[str, str] = {}
    for operation in operations:
        for mode in GenerationMode:

            @given(case=operation.as_strategy(generation_mode=mode))
            @settings(
                max_examples=examples,
                deadline=None,
                database=None,
                derandomize=True,
                suppress_health_check=list(HealthCheck),
            )
            def ask(case: Case[Any]) -> None:
                nonlocal tried
                tried += 1
                for made_up in ("Authorization", "X-API-Key"):
                    case.headers.pop(made_up, None)
                try:
                    case.call_and_validate(headers=KEY)
                except FailureGroup as group:
                    for failure in group.exceptions:
                        body = getattr(failure, "response", None)
                        if not is_beyond_schemas(failure, case):
                            found[f"{case.operation.label}: {type(failure).__name__}"] = f"{failure}\n{body}"

            try:
                ask()
            except Unsatisfiable:
                assert mode is GenerationMode.NEGATIVE  # a call without parameters cannot be got wrong
    record("calls made up from the OpenAPI document", inputs=tried, failed=len(found), wrong=0)
    assert found == {}


def is_beyond_schemas(failure: Exception, case: Case[Any]) -> bool:
    """Whether a call that the document allows was refused by a rule that a document cannot state."""
    if type(failure).__name__ != "RejectedPositiveData":
        return False
    answer = case.call(headers=KEY)
    expired = answer.status_code == 410  # an answer's id that was made up
    return expired or (answer.status_code == 422 and bool(BEYOND_SCHEMAS.search(answer.json()["detail"])))
