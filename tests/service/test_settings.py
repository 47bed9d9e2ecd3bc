"""Settings that cannot be right are refused before anything starts, in one line that says what was expected."""

from __future__ import annotations

from typing import NoReturn

import pytest
import uvicorn
from click.testing import CliRunner
from pydantic import SecretStr, ValidationError

from service.cli import main
from service.settings import Settings

PASSWORD = "password/4714"  # the slash ends the address early: what is left of the password looks like a port


def not_started(*given: object, **options: object) -> NoReturn:
    raise AssertionError("the service was started")


@pytest.mark.parametrize(
    "rate", ["", "often", "100", "0/minute", "-1/second", "1000/minute;3/hour", "5/second, 3/hour"]
)
def test_a_rate_is_one_rate_that_lets_something_pass(rate: str) -> None:
    with pytest.raises(ValidationError, match=r"MAGNET_RATE_LIMIT is .*expected one rate of at least one call"):
        Settings(rate_limit=rate)


@pytest.mark.parametrize("rate", [None, "100/second", "5000 per minute", "1 per 2 hours"])
def test_rates_stay_as_written(rate: str | None) -> None:
    assert Settings(rate_limit=rate).rate_limit == rate


@pytest.mark.parametrize(
    "url", ["", "localhost:6379", "http://localhost", "REDIS://h", "unix://", f"redis://:{PASSWORD}@localhost:6379"]
)
def test_redis_has_an_address_of_redis(url: str) -> None:
    with pytest.raises(ValidationError, match=r"MAGNET_REDIS_URL is no address .*expected redis://") as caught:
        Settings(redis_url=SecretStr(url))
    assert "4714" not in str(caught.value)


@pytest.mark.parametrize("url", ["redis://localhost", "rediss://u:p@h:6380/1", "unix:///run/redis.sock?db=2"])
def test_every_kind_of_address_of_redis_is_taken(url: str) -> None:
    settings = Settings(redis_url=SecretStr(url))
    assert settings.redis_url is not None
    assert settings.redis_url.get_secret_value() == url


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MAGNET_RATE_LIMIT", "1000/minute;3/hour"),
        ("MAGNET_REDIS_URL", f"http://:{PASSWORD}@h"),
        ("MAGNET_HOST", "0.0.0.0"),
    ],
)
def test_the_command_says_so_in_one_line(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uvicorn, "run", not_started)
    monkeypatch.setenv(name, value)
    answer = CliRunner().invoke(main)
    assert (answer.exit_code, answer.output.count("\n")) == (1, 1)
    assert answer.output.startswith("Error: ")
    assert name.removeprefix("MAGNET_").lower() in answer.output.lower()
    assert "expected" in answer.output
    assert "4714" not in answer.output


def test_a_port_that_is_still_to_be_found_is_not_announced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uvicorn, "run", not_started)
    answer = CliRunner().invoke(main, ["--announce", "--port", "0"])
    assert answer.exit_code == 2
    assert "expected a --port to --announce, found 0" in answer.output
