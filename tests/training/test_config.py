"""A run's configuration: precedence, overrides, files and errors that name the setting."""

import errno
import os
from pathlib import Path
from typing import NoReturn

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.config import (
    ConfigError,
    RunConfig,
    check_unchanged,
    model_settings,
    put_together,
    read_run_config,
    read_toml,
    with_overrides,
    write_run_config,
)
from training.models.cammsr.config import CammsrConfig
from training.models.magnet.config import MagnetConfig
from training.models.registry import RECIPES


def test_set_beats_options_and_options_beat_the_file(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text('data = "a"\nseed = 1\nmodel = "ease"\n[settings.base]\nnegatives = 5\ntemperature = 0.3\n')
    config = put_together(path, ("seed=3", "settings.base.negatives=7"), {"seed": 2, "model": "magnet", "split": None})
    assert (config.data.name, config.seed, config.model, config.split) == ("a", 3, "magnet", "auto")
    assert config.settings == {"base": {"negatives": 7, "temperature": 0.3}}


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("seed=3", {"seed": 3}),
        ("settings.base.learning_rate=1e-3", {"settings": {"base": {"learning_rate": 0.001}}}),
        ("refit=false", {"refit": False}),
        ("model=ease", {"model": "ease"}),  # a bare word
        ('model="ease"', {"model": "ease"}),
        ("settings.neighbours=[1, 2]", {"settings": {"neighbours": [1, 2]}}),
        ("features=a=b", {"features": "a=b"}),
    ],
)
def test_overrides_are_toml_values_or_words(override: str, expected: dict[str, object]) -> None:
    assert with_overrides({}, (override,)) == expected


def test_overrides_leave_what_they_were_given_alone() -> None:
    given_settings = {"settings": {"base": {"negatives": 5}}}
    assert with_overrides(given_settings, ("settings.base.negatives=6",)) == {"settings": {"base": {"negatives": 6}}}
    assert given_settings == {"settings": {"base": {"negatives": 5}}}


@pytest.mark.parametrize(("override", "named"), [("seed", "seed"), ("=3", "=3"), ("data.x=1", "data")])
def test_a_malformed_override_is_named(override: str, named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        with_overrides({"data": "a"}, (override,))


def test_unknown_settings_and_values_out_of_range_are_named() -> None:
    with pytest.raises(ConfigError, match=r"settings\.base\.negativs"):
        model_settings(MagnetConfig, {"base": {"negativs": 3}})
    with pytest.raises(ConfigError, match=r"settings\.router\.dropout.*less than 1"):
        model_settings(MagnetConfig, {"router": {"dropout": 1.5}})
    with pytest.raises(ConfigError, match="setting sead"):
        put_together(None, ("sead=1",), {"data": "a"})
    with pytest.raises(ConfigError, match="--data"):
        put_together(None, (), {})


def test_a_seed_is_one_that_all_generators_take() -> None:
    assert put_together(None, (f"seed={2**32 - 1}",), {"data": "a"}).seed == 2**32 - 1
    with pytest.raises(ConfigError, match=r"setting seed: .*less than or equal to 4294967295"):
        put_together(None, (), {"data": "a", "seed": 2**64})


def test_settings_that_do_not_go_together_are_told_without_pydantics_words() -> None:
    with pytest.raises(ConfigError, match=r"^setting settings: expected heads that divide embedding_size, .* 3 .* 64$"):
        model_settings(CammsrConfig, {"heads": 3})


@pytest.mark.parametrize("name", RECIPES)
def test_every_models_settings_survive_the_file(name: str, tmp_path: Path) -> None:
    settings = RECIPES[name].config_type().model_dump(mode="json", exclude_none=True)
    config = RunConfig(data=tmp_path, model=name, settings=settings, min_rating=3.5)
    write_run_config(tmp_path / "config.toml", config)
    again = read_run_config(tmp_path / "config.toml")
    assert again == config
    assert model_settings(RECIPES[name].config_type, again.settings) == RECIPES[name].config_type()


@pytest.mark.parametrize("name", RECIPES)
def test_every_setting_of_every_model_says_what_it_is_and_refuses_unknown_ones(name: str) -> None:
    for field, about in RECIPES[name].config_type.model_fields.items():
        nested = about.annotation
        described = about.description or getattr(nested, "__doc__", None)
        assert described, f"{name}: {field}"
    with pytest.raises(ConfigError, match="no_such_setting"):
        model_settings(RECIPES[name].config_type, {"no_such_setting": 1})


@given(seed=st.integers(0, 2**31), data=st.text(min_size=1).filter(lambda text: "\0" not in text), refit=st.booleans())
def test_any_run_configuration_survives_the_file(
    seed: int, data: str, refit: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("round") / "config.toml"
    config = RunConfig(data=Path(data.encode("utf-8", "ignore").decode() or "x"), seed=seed, refit=refit)
    write_run_config(path, config)
    assert read_run_config(path) == config


@pytest.mark.parametrize("content", [b"seed = ", b"\xff\xfe", b"seed = -1\ndata = 'a'", b"data = 'a'\nsed = 1"])
def test_a_broken_file_is_named(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=str(path)):
        read_run_config(path)
    with pytest.raises(ConfigError, match=r"absent\.toml"):
        read_toml(tmp_path / "absent.toml")


def test_going_on_takes_the_same_settings_and_no_others(tmp_path: Path) -> None:
    stored = RunConfig(data=tmp_path, seed=4, settings={"base": {"negatives": 5, "temperature": 0.2}, "members": 1})
    file = tmp_path / "given.toml"
    file.write_text("[settings.base]\nnegatives = 5\n")
    check_unchanged(stored, None, (), {"data": None, "seed": None})
    check_unchanged(stored, file, ("settings.members=1",), {"data": tmp_path, "seed": 4})
    with pytest.raises(ConfigError, match="settings"):
        check_unchanged(stored, None, ("settings.members=2",), {})
    with pytest.raises(ConfigError, match="seed"):
        check_unchanged(stored, file, (), {"seed": 5})
    file.write_text("[settings.base]\nnegatives = 6\n")
    with pytest.raises(ConfigError, match="settings"):
        check_unchanged(stored, file, (), {})


def test_paths_are_whole_wherever_they_were_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run.toml").write_text('data = "mine"\nevents = ["e.jsonl"]\n')
    config = put_together(Path("run.toml"), (), {"features": Path("made")})
    assert (config.data, config.features, config.events) == (
        tmp_path / "mine",
        tmp_path / "made",
        (tmp_path / "e.jsonl",),
    )
    check_unchanged(config.model_copy(update={"data": Path("mine")}), None, (), {"features": Path("made")})


@pytest.mark.parametrize(
    "settings", [{"base": {"learning_rate": float("inf")}}, {"base": {"patience": [float("nan")]}}]
)
def test_what_no_file_could_hold_is_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=r"setting settings\.base\.\w+: expected a finite number"):
        model_settings(MagnetConfig, settings)


def test_a_configuration_that_cannot_be_written_leaves_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "config.toml"
    write_run_config(path, RunConfig(data=Path("a")))

    def full(*given: object) -> NoReturn:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_run_config(path, RunConfig(data=Path("b")))
    assert read_run_config(path).data == Path("a")
    assert [entry.name for entry in tmp_path.iterdir()] == ["config.toml"]
