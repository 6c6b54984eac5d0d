"""The configuration: defaults, files, refusals, and that the command line describes every field the same way."""

from __future__ import annotations

import typing
from pathlib import Path
from typing import Any

import pytest
from pydantic_core import PydanticUndefined

from fi_store.cli.options import CONFIG_OPTIONS, DEMO_FIELDS, RESUMABLE_FIELDS
from fi_store.commands import DEFAULT_FOLDER, DEFAULT_STORE
from fi_store.config import EXTRACTION_FIELDS, DictionaryKind, RunConfig, make_config
from fi_store.errors import ConfigError, UsageError
from fi_store.method import METHOD

PAIR = {"base_model": "a", "target_model": "b"}


def test_every_field_is_an_option_with_the_same_help_and_default() -> None:
    options = {option.field: option for option in CONFIG_OPTIONS}
    assert list(options) == list(dict.fromkeys(options))
    assert set(options) == set(RunConfig.model_fields)
    for name, field in RunConfig.model_fields.items():
        option = options[name]
        assert option.help == field.description, name
        default = field.default
        if default is PydanticUndefined or default is None or default is False or default == ():
            assert option.default is None, name
        elif isinstance(default, tuple):
            assert option.default == ",".join(default), name
        else:
            assert option.default == str(default), name
        choices = typing.get_args(field.annotation)
        if typing.get_origin(field.annotation) is typing.Literal:
            assert typing.get_args(option.type) == choices, name


def test_the_default_paths_agree() -> None:
    config = make_config(None, **PAIR)
    assert config.output_dir == DEFAULT_FOLDER
    assert config.store_path == DEFAULT_STORE
    assert make_config(None, **PAIR, store=Path("x.duckdb")).store_path == Path("x.duckdb")


def test_named_fields_exist() -> None:
    for fields in (EXTRACTION_FIELDS, DEMO_FIELDS, RESUMABLE_FIELDS):
        assert set(fields) <= set(RunConfig.model_fields)


def test_options_override_the_file_and_the_file_overrides_the_defaults(tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_text('base-model = "a"\ntarget_model = "b"\nseed = 3\nalpha = 0.1\nskip_report = true\n')
    config = make_config(file, seed=5, skip_report=False, alpha=None)
    assert (config.base_model, config.seed, config.alpha, config.skip_report, config.k) == (
        "a",
        5,
        0.1,
        False,
        16,
    )


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"seed": -1}, "--seed"),
        ({"seed": 2**31}, "--seed"),
        ({"alpha": 0.0}, "--alpha"),
        ({"alpha": 1.0}, "--alpha"),
        ({"alpha": float("nan")}, "--alpha"),
        ({"feature_threshold": -0.1}, "--feature-threshold"),
        ({"feature_threshold": float("inf")}, "--feature-threshold"),
        ({"max_new_tokens": 0}, "--max-new-tokens"),
        ({"layers": "first"}, "--layers"),
        ({"layers": "1,,2"}, "--layers"),
        ({"device": "gpu"}, "--device"),
        ({"quantization": "int2"}, "--quantization"),
        ({"sites": ("nowhere",)}, "--sites"),
        ({"sites": ()}, "--sites"),
        ({"limit_per_category": 0}, "--limit-per-category"),
        ({"candidates": 0}, "--candidates"),
        ({"interventions": "some"}, "--interventions"),
        ({"k": 64, "n_latents": 32}, "k = 64 is larger than n_latents = 32"),
        ({"base_model": "  "}, "--base-model"),
        ({"color": "red"}, "--color"),
    ],
)
def test_values_outside_their_range_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make_config(None, **{**PAIR, **options})
    assert words in str(caught.value)
    assert caught.value.exit_code == 2
    assert caught.value.hint


def test_a_missing_model_is_refused() -> None:
    with pytest.raises(ConfigError, match="--target-model"):
        make_config(None, base_model="a")


def test_bad_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        make_config(tmp_path / "absent.toml")
    file = tmp_path / "bad.toml"
    file.write_text("seed = = 3")
    with pytest.raises(ConfigError, match="is not TOML"):
        make_config(file)
    file.write_bytes(b"seed = '\xff'")
    with pytest.raises(ConfigError, match="is not TOML"):
        make_config(file)
    file.write_text('base_model = "a"\ntarget_model = "b"\nsede = 3\n')
    with pytest.raises(ConfigError, match="--sede"):
        make_config(file)


def test_a_configuration_survives_the_store() -> None:
    config = make_config(None, **PAIR, prompts_file=(Path("p.yaml"),), sites=("resid_post", "mlp_out"))
    assert RunConfig(**config.model_dump(mode="json")) == config


def test_the_thresholds_are_the_documented_ones() -> None:
    """Whoever changes one of these thresholds must change the documentation too."""
    config = make_config(None, **PAIR)
    assert (METHOD.alpha, config.alpha, config.feature_threshold) == (0.05, 0.05, 0.03)
    assert (METHOD.gate0_kl_upper, METHOD.gate0_agreement, METHOD.max_changes) == (0.02, 0.95, 6)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"naming_url": "http://localhost:8000/v1"}, "needs naming_model"),
        ({"naming_model": " "}, "must not be empty"),
        ({"naming_model": "m", "skip_naming": True}, "leaves results unnamed"),
        ({"naming_model": "m", "naming_url": "file:///etc/passwd"}, "http or https"),
        ({"naming_model": "m", "naming_url": "localhost:8000"}, "http or https"),
        ({"naming_model": "m", "naming_url": "https://me:key@host/v1"}, "FI_STORE_NAMING_KEY"),
        ({"naming_model": "m", "naming_url": "https://host/v1?key=secret"}, "FI_STORE_NAMING_KEY"),
    ],
)
def test_naming_options_that_do_not_fit_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        make_config(None, **PAIR, **options)


def test_the_address_of_an_endpoint_has_no_slash_at_its_end() -> None:
    config = make_config(None, **PAIR, naming_model=" m ", naming_url="https://host/v1/")
    assert (config.naming_model, config.naming_url) == ("m", "https://host/v1")


def test_models_of_different_widths_get_a_crosscoder_or_refuse_what_needs_one_width(tmp_path: Path) -> None:
    def config(**options: Any) -> RunConfig:
        return make_config(base_model="a", target_model="b", **options)

    assert [config().dictionary_kind(widths) for widths in ((8, 8), (8, 9))] == ["paired_sae", "crosscoder"]
    assert config(dictionary="pca").dictionary_kind((8, 8)) == "pca"
    for options in ({"dictionary": "pca"}, {"dictionary_file": tmp_path}):
        with pytest.raises(UsageError, match="needs models of one width, and these have 8 and 9"):
            config(**options).dictionary_kind((8, 9))


@pytest.mark.parametrize(
    ("kind", "rows", "width", "latents"),
    [
        ("paired_sae", 9000, 576, 1152),
        ("paired_sae", 9000, 64, 1024),
        ("paired_sae", 300, 576, 600),
        ("diff_sae", 300, 576, 300),
        ("crosscoder", 9000, 2048, 4096),
    ],
)
def test_latents_grow_with_the_width_and_never_exceed_the_rows(
    kind: DictionaryKind, rows: int, width: int, latents: int
) -> None:
    config = make_config(base_model="a", target_model="b")
    assert config.latents(kind, rows, width) == latents
    assert make_config(base_model="a", target_model="b", n_latents=64).latents(kind, rows, width) == 64
