"""Every setting of the service, in one place; no other module of it takes settings from the environment."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated, Literal

from limits import parse_many
from pydantic import Field, HttpUrl, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict
from redis.asyncio.connection import parse_url


class Settings(BaseSettings):
    """Settings from `MAGNET_*` variables; `magnet-serve` options override them."""

    model_config = SettingsConfigDict(
        env_prefix="MAGNET_", extra="forbid", frozen=True, use_attribute_docstrings=True, hide_input_in_errors=True
    )

    store: Path = Path("model_store/artifacts")
    """The store whose current snapshot is served."""

    host: str = "127.0.0.1"
    """Address to bind. Anything but loopback needs API keys."""

    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    """Port to bind; 0 lets the system choose."""

    workers: Annotated[int, Field(ge=1, le=256)] = 1
    """Worker processes; they share the snapshot's pages."""

    api_keys: SecretStr | None = None
    """API keys, separated by commas. With keys, only the probes and the console's static files answer without
    one."""

    api_keys_file: Path | None = None
    """File with one API key per line; read at start."""

    admin_key: SecretStr | None = None
    """The key of admin calls, which are refused without it; it opens every other call too."""

    admin_key_file: Path | None = None
    """File with the admin key; read at start."""

    rate_limit: Annotated[str | None, Field(examples=["100/second"])] = None
    """How often one key (without keys: one address) may call, as `100/second` or `5000 per minute`; unlimited where
    unset. Without Redis every worker counts for itself."""

    max_in_flight: Annotated[int, Field(ge=1, le=100_000)] = 256
    """How many requests a worker takes on at once; further ones are answered 503 at once. Probes always pass."""

    max_body_mb: Annotated[float, Field(gt=0, le=1024)] = 12.0
    """The largest body a request may have."""

    metrics: bool = True
    """Count and time requests for `/metrics`."""

    otlp_endpoint: HttpUrl | None = None
    """OpenTelemetry collector that gets a trace of every request over HTTP, as `http://localhost:4318`; needs the extra
    `tracing`. No traces where unset."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """What is logged, as JSON lines on standard error."""

    snapshot_poll_seconds: Annotated[float, Field(gt=0, le=3600)] = 1.0
    """How often the store's pointer is looked at for a new snapshot."""

    verify_at_start: bool = True
    """Check every hash of the snapshot at start, which reads all of it once (about a second per gigabyte from memory,
    and what it reads is warm then). Sizes are always checked; a swap always checks hashes."""

    redis_url: SecretStr | None = None
    """Redis for all state, shared by workers and replicas; the embedded state where unset."""

    redis_prefix: Annotated[str, Field(max_length=100)] = "magnet:"
    """What every key in Redis begins with."""

    state: Path | None = None
    """Folder of the embedded state (events, live items), with Redis of who was forgotten; `state` in the store where
    unset."""

    state_poll_seconds: Annotated[float, Field(gt=0, le=1)] = 0.25
    """How often a worker looks for what other workers changed."""

    answer_ttl_seconds: Annotated[float, Field(gt=0)] = 900.0
    """How long an answer can be explained by its `recommendation_id`."""

    answer_memory_mb: Annotated[float, Field(gt=0)] = 64.0
    """Memory per worker for stored answers; the oldest leave first."""

    cache_memory_mb: Annotated[float, Field(ge=0)] = 64.0
    """Memory per worker for prepared answers to repeated questions; 0 keeps none."""

    router_memory_mb: Annotated[float, Field(ge=0)] = 64.0
    """Memory per worker for what the router made of recent users, reused by their next pages and by `/explain`; 0 keeps
    none."""

    ahead_memory_mb: Annotated[float, Field(ge=0)] = 64.0
    """Memory per worker for rankings of known users, made in the background after every swap (2.3 KB a user, those with
    the longest histories first); 0 makes none."""

    ahead_disk_mb: Annotated[float, Field(ge=0)] = 512.0
    """Disk per worker for the first pages of those users in words (16 KB a user), in the folder of TMPDIR, whose disk
    may itself be memory; 0 keeps none."""

    popular_half_life_days: Annotated[float, Field(gt=0, le=3650)] = 14.0
    """After how many days an event counts half in what is popular."""

    popular_exploration: Annotated[float, Field(ge=0, le=1)] = 0.2
    """Share of places in a popular answer that go to items drawn from beyond the most popular."""

    index: Literal["auto", "cpu", "gpu"] = "auto"
    """Where candidates are searched: `gpu` where FAISS has one (every worker keeps a copy there; raise `threads` so
    that requests share searches), else on the CPU. `auto` takes what is there; `gpu` warns where there is none."""

    threads: Annotated[int, Field(ge=1, le=64)] = 2
    """Threads per worker for work that would hold the event loop for more than 5 ms."""

    def is_loopback(self) -> bool:
        """Whether `host` can only be reached from this machine."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @field_validator("rate_limit")
    @classmethod
    def _one_rate(cls, text: str | None) -> str | None:
        if text is None:
            return None
        try:
            amounts = [rate.amount for rate in parse_many(text)]
        except ValueError:
            amounts = []
        if len(amounts) != 1 or amounts[0] < 1:
            raise ValueError(
                f"MAGNET_RATE_LIMIT is {text!r} (expected one rate of at least one call, as 100/second or 5000 per "
                "minute)"
            )
        return text

    @field_validator("redis_url")
    @classmethod
    def _url_of_redis(cls, url: SecretStr | None) -> SecretStr | None:
        try:
            if url is not None:
                if not url.get_secret_value().startswith(("redis://", "rediss://", "unix:///")):
                    raise ValueError
                parse_url(url.get_secret_value())
        except ValueError:  # its words may hold a piece of the password
            raise ValueError(
                "MAGNET_REDIS_URL is no address of a Redis (expected redis://, rediss:// or unix://, as "
                "redis://localhost:6379/0)"
            ) from None
        return url

    @model_validator(mode="after")
    def _keys_before_network(self) -> Settings:
        if not self.is_loopback() and self.api_keys is None and self.api_keys_file is None:
            raise ValueError(
                f"host is {self.host!r}: without API keys the service binds loopback only (expected 127.0.0.1, ::1 or "
                "localhost)"
            )
        return self
