"""Whatever the OpenAPI document allows, and what it forbids, sent to the service: Schemathesis with every check on."""

from __future__ import annotations

import collections
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from fastapi import FastAPI
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from hypothesis.stateful import run_state_machine_as_test
from pydantic import SecretStr
from schemathesis import Case, GenerationMode
from schemathesis.checks import load_all_checks
from schemathesis.core.failures import FailureGroup
from schemathesis.core.result import Ok
from starlette.testclient import TestClient

from service.app import create_app
from service.settings import Settings
from tests.reliability.conftest import Record
from tests.support.service_client import on_a_port, promoted
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
def root(tmp_path: Path) -> Path:
    """A store whose snapshot can take new items."""
    root = tmp_path / "store"
    encoder = tiny_item_encoder(MODALITIES, FEATURE_WIDTH, width=8, n_experts=len(EXPERTS), residual_width=4)
    promoted(root, write_tiny_pair_snapshot(root, n_items=60, files={"item_encoder.onnx": encoder}))
    return root


@pytest.fixture
def served(root: Path) -> Iterator[str]:
    """Where the service with keys answers."""
    with on_a_port(root, MAGNET_API_KEYS="ordinary", MAGNET_ADMIN_KEY="admin") as address:
        yield address


@pytest.fixture
def app(root: Path) -> Iterator[FastAPI]:
    """The service with keys and a limit on rates; one per test, for Schemathesis ends an application that it got."""
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


@pytest.mark.parametrize("walks", [5, pytest.param(40, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("paths", "reached"),
    [
        ("/recommend/(session|{user_id})|/explain$", {("GET /explain", 200)}),
        ("/events|/users/{user_id}", {("GET /users/{user_id}", 200)}),
        ("/users/{user_id}", {("GET /users/{user_id}", 404)}),
        ("/items/{item_id}", {("GET /items/{item_id}", 200)}),
    ],
)
def test_calls_that_follow_from_one_another(
    served: str, paths: str, reached: set[tuple[str, int]], walks: int, record: Record
) -> None:
    """Walks along the document's links: what was put is there, who was forgotten is gone, answers can be explained."""
    load_all_checks()
    schema = schemathesis.openapi.from_url(f"{served}/openapi.json", headers=KEY).include(path_regex=paths)
    asked: collections.Counter[tuple[str, int]] = collections.Counter()
    found: dict[str, str] = {}

    class Walk(schema.as_state_machine()):  # type: ignore[misc]  # a class made from the document
        def get_call_kwargs(self, case: Case[Any]) -> dict[str, Any]:
            for made_up in ("Authorization", "X-API-Key"):
                case.headers.pop(made_up, None)
            return {"headers": KEY}

        def validate_response(self, response: Any, case: Case[Any], **given: Any) -> None:
            asked[case.operation.label, response.status_code] += 1
            try:
                super().validate_response(response, case, **given)
            except FailureGroup as group:
                for failure in group.exceptions:
                    if not is_beyond_schemas(failure, case):
                        found[f"{case.operation.label}: {type(failure).__name__}"] = str(failure)

    bounds = settings(
        max_examples=walks,
        stateful_step_count=10,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(Walk, settings=bounds)
    record("walks along the links of the OpenAPI document", inputs=asked.total(), failed=len(found), wrong=0)
    assert found == {}
    assert reached <= set(asked), asked


def is_beyond_schemas(failure: Exception, case: Case[Any]) -> bool:
    """Whether a call that the document allows was refused by a rule that a document cannot state."""
    if type(failure).__name__ != "RejectedPositiveData":
        return False
    answer = case.call(headers=KEY)
    expired = answer.status_code == 410  # an answer's id that was made up
    return expired or (answer.status_code == 422 and bool(BEYOND_SCHEMAS.search(answer.json()["detail"])))
