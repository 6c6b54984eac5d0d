"""The configuration of a run, with a sentence under each option.

`RunConfig` defines the options of `fi-store run`, the keys of `--config FILE.toml`, and the configuration stored with
each run. The method's thresholds are in `fi_store/method.py`. This module imports neither torch nor SQLAlchemy.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from fi_store.errors import ConfigError, UsageError
from fi_store.method import METHOD

Quantization = Literal["auto", "fp32", "fp16", "bf16", "int8", "nf4"]
KeepActivations = Literal["all", "analyzed", "none"]
Switch = Literal["on", "off"]
Interventions = Literal["default", "full", "off"]
Site = Literal["resid_post", "attn_out", "mlp_out"]
LEAST_LATENTS = 1024
"""Latents of a dictionary for narrow models, if there are as many rows; wide models get twice their width."""

DictionaryKind = Literal["paired_sae", "crosscoder", "diff_sae", "pca", "mean_diff"]
ReportFormat = Literal["markdown", "html", "both"]
TEMPLATE_CHOICES = ("auto", "base", "target", "own", "none")
"""What `--chat-template` takes instead of a file."""
DEPTHS = (0.57, 0.77, 0.93)
"""Relative depths for `--layers auto`. Early layers mostly encode the token itself; answers take shape later."""


class RunConfig(BaseModel):
    """Everything that determines a run. Frozen; contradictory options are refused on construction."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    base_model: str = Field(
        description="The model before: hub id with @revision, folder, adapter folder, .gguf file or bundled:smollm2."
    )
    target_model: str = Field(description="The model after, in any of the same forms.")
    prompts_file: tuple[Path, ...] = Field(
        default=(),
        description="Prompt files (YAML or JSON), or reasoning, broad, controls. Default: reasoning and controls.",
    )
    categories: tuple[str, ...] = Field(default=(), description="Use only prompts of these categories.")
    limit_per_category: int | None = Field(
        default=None,
        ge=1,
        description="At most this many prompts per category, evenly spaced. Default for the shipped suite: 16.",
    )
    output_dir: Path = Field(
        default=Path("feature_interpretation"), description="The project folder, shared by many runs."
    )
    store: Path | None = Field(
        default=None, description="The DuckDB file. Default: fi-store.duckdb in the project folder."
    )
    cache_dir: Path | None = Field(default=None, description="Folder for converted models.")
    device: str = Field(
        default="auto", pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$", description="auto, cpu, cuda, cuda:N or mps."
    )
    quantization: Quantization = Field(
        default="auto",
        description="Precision of the weights; auto measures which is fastest and prints the reason.",
    )
    trust_remote_code: bool = Field(
        default=False, description="Let a hub repository run its own code. Read that code first."
    )
    seed: int = Field(
        default=0,
        ge=0,
        le=2**31 - 1,
        description="Seed for the split, dictionaries, control draws and resampling.",
    )
    max_new_tokens: int = Field(
        default=48, ge=2, le=4096, description="Maximum length of each model's own greedy answer, in tokens."
    )
    chat_template: str = Field(
        default="auto",
        description="The format of the prompts: auto, base, target, own (each model its own), none, or a Jinja file.",
    )
    system_prompt: str | None = Field(
        default=None, min_length=1, description="A system prompt before every prompt."
    )
    template_arg: tuple[str, ...] = Field(
        default=(), description="NAME=VALUE, an argument of the chat template, such as enable_thinking=false."
    )
    prefill: str | None = Field(
        default=None,
        min_length=1,
        description="Text with which every answer begins; both models go on from there.",
    )
    layers: str = Field(
        default="auto",
        pattern=r"^(auto|all|\d+(,\d+)*)$",
        description="Layers to analyze: auto, all, or numbers such as 5,11,17.",
    )
    sites: tuple[Site, ...] = Field(
        default=("resid_post",),
        min_length=1,
        description="Where in each layer activations are read: resid_post, attn_out, mlp_out.",
    )
    attribution: Switch = Field(
        default="on",
        description="Backward passes that show through which layers the difference passes: on or off.",
    )
    dictionary: DictionaryKind | Literal["auto"] = Field(
        default="auto",
        description="The kind of dictionary to learn. auto: a paired SAE, or a crosscoder across widths.",
    )
    dictionary_seeds: int = Field(
        default=1,
        ge=1,
        le=20,
        description="Dictionaries per layer: the first is analyzed, the others show which groups recur.",
    )
    dictionary_file: Path | None = Field(
        default=None,
        description="A folder with a pretrained sparse autoencoder, used at its layer instead of learning one.",
    )
    n_latents: int | None = Field(
        default=None,
        ge=8,
        le=2**20,
        description="Latents per dictionary. Default: 1024, or twice the width if that is more; at most one per row.",
    )
    k: int = Field(default=16, ge=1, description="Average number of latents that fire per token (BatchTopK).")
    dictionary_steps: int = Field(default=500, ge=1, description="Training steps per dictionary.")
    dictionary_batch: int = Field(
        default=1024, ge=2, description="Rows per training step, half from each model."
    )
    candidates: int = Field(
        default=24,
        ge=1,
        le=1000,
        description="K: how many groups of features are patched one by one; the others are joined first.",
    )
    feature_threshold: float = Field(
        default=0.03,
        ge=0,
        le=1,
        description="Smallest share of the difference between the models that a finding's patch must close.",
    )
    alpha: float = Field(
        default=METHOD.alpha, gt=0, lt=1, description="Significance level for the adjusted p."
    )
    keep_activations: KeepActivations = Field(
        default="analyzed",
        description="Which layers' activations to keep: all, only the analyzed ones, or none after the analysis.",
    )
    crosscoder_file: Path | None = Field(
        default=None, description="JSON file of similarities from another tool, shown beside our own."
    )
    skip_activations: bool = Field(
        default=False,
        description="Reuse the store's newest extraction of this pair and configuration; the seed may differ.",
    )
    skip_naming: bool = Field(default=False, description="Leave results unnamed.")
    naming_model: str | None = Field(
        default=None,
        description="A model that proposes names for findings: a reference as above, or its name at --naming-url.",
    )
    naming_url: str | None = Field(
        default=None,
        description="OpenAI-compatible endpoint with --naming-model, such as http://localhost:8000/v1.",
    )
    interventions: Interventions = Field(
        default="default",
        description="Patches that test causes: default, full (answers under a patch for every finding), or off.",
    )
    skip_visualization: bool = Field(default=False, description="Make the report without charts.")
    skip_report: bool = Field(default=False, description="Do not make a report.")
    report_format: ReportFormat = Field(default="both", description="markdown, html or both.")

    @field_validator("base_model", "target_model", "naming_model")
    @classmethod
    def _not_empty(cls, value: str | None) -> str | None:
        if value is not None and not value.strip():
            raise ValueError("must not be empty")
        return value.strip() if value is not None else None

    @field_validator("chat_template")
    @classmethod
    def _template_text(cls, value: str) -> str:
        """The text of a template, so that the run keeps it whatever becomes of its file."""
        if value in TEMPLATE_CHOICES or "{" in value:
            return value
        try:
            text = Path(value).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is not UTF-8"
            raise ValueError(
                f"is none of {', '.join(TEMPLATE_CHOICES)}, and no readable file: {reason}"
            ) from error
        if "{" not in text:
            raise ValueError("names a file that is no Jinja template")
        return text

    @field_validator("template_arg")
    @classmethod
    def _named_arguments(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        for value in values:
            if not value.partition("=")[0].isidentifier() or "=" not in value:
                raise ValueError("must be NAME=VALUE")
        return values

    @field_validator("naming_url")
    @classmethod
    def _plain_address(cls, value: str | None) -> str | None:
        """An address without secrets, since it is stored and printed."""
        if value is None:
            return None
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("must be an http or https address")
        if parts.username is not None or parts.query or parts.fragment:
            raise ValueError("must have no user, query or fragment; a key belongs in FI_STORE_NAMING_KEY")
        return value.rstrip("/")

    @model_validator(mode="after")
    def _consistent(self) -> RunConfig:
        if self.n_latents is not None and self.k > self.n_latents:
            raise ValueError(f"k = {self.k} is larger than n_latents = {self.n_latents}")
        if self.dictionary_seeds > 1 and (self.dictionary_file or self.dictionary in ("pca", "mean_diff")):
            raise ValueError(
                "dictionary_seeds needs a dictionary that depends on the seed; this one is always the same"
            )
        if self.naming_url is not None and self.naming_model is None:
            raise ValueError("naming_url needs naming_model, the name of the model there")
        if self.naming_model is not None and self.skip_naming:
            raise ValueError("naming_model proposes names, and skip_naming leaves results unnamed")
        if self.skip_report and self.crosscoder_file is not None and self.skip_visualization:
            raise ValueError("crosscoder_file appears only in charts and reports, and both are skipped")
        return self

    @property
    def store_path(self) -> Path:
        """The DuckDB file of this project."""
        return self.store if self.store is not None else self.output_dir / "fi-store.duckdb"

    def dictionary_kind(self, widths: tuple[int, int]) -> DictionaryKind:
        """The kind of dictionary for two models of these widths.

        Raises:
            UsageError: the kind that was asked for needs models of one width.
        """
        same = widths[0] == widths[1]
        if not same and (self.dictionary_file is not None or self.dictionary not in ("auto", "crosscoder")):
            asked = (
                "--dictionary-file" if self.dictionary_file is not None else f"--dictionary {self.dictionary}"
            )
            raise UsageError(
                f"{asked} needs models of one width, and these have {widths[0]} and {widths[1]}.",
                hint="leave it out: a crosscoder is learned for models of different widths",
            )
        if self.dictionary != "auto":
            return self.dictionary
        return "paired_sae" if same else "crosscoder"

    def latents(self, kind: DictionaryKind, n_rows: int, width: int) -> int:
        """The latents of a dictionary that learns from `n_rows` rows of each model; `width` is the wider model's.

        If nobody says how many, they grow with the width. A paired SAE learns from both models' rows one by one; every
        other kind makes one row of a pair.
        """
        available = n_rows * (2 if kind == "paired_sae" else 1)
        return self.n_latents or min(max(LEAST_LATENTS, 2 * width), available)

    def analyzed_layers(self, n_layers: int) -> list[int]:
        """The layers, ascending, that `layers` selects in models with `n_layers` layers.

        This is known before any model runs: it depends only on the options and the depth, never on data.

        Raises:
            UsageError: the models have no layer with that number.
        """
        if self.layers == "all":
            return list(range(n_layers))
        if self.layers == "auto":
            return sorted({min(n_layers - 1, round(depth * n_layers)) for depth in DEPTHS})
        layers = sorted({int(part) for part in self.layers.split(",")})
        if layers[-1] >= n_layers:
            raise UsageError(
                f"--layers {self.layers}: the models have {n_layers} layers, numbered from 0.",
                hint="fi-store run --layers auto",
            )
        return layers

    def written_layers(self, n_layers: int) -> list[int]:
        """The layers whose token-level activations an extraction writes: the analyzed ones, or all of them."""
        return list(range(n_layers)) if self.keep_activations == "all" else self.analyzed_layers(n_layers)


EXTRACTION_FIELDS = (
    "max_new_tokens", "sites", "attribution", "quantization", "device", "trust_remote_code",
    "chat_template", "system_prompt", "template_arg", "prefill",
)  # fmt: skip
"""The fields that, with models and prompts, determine an extraction; `--skip-activations` needs them to be equal. The
seed is not one of them: it only splits the prompts and draws what the analysis draws."""


def make_config(file: Path | None = None, **options: Any) -> RunConfig:
    """Builds a validated configuration. Options that are not None override the TOML file, which overrides the defaults.

    Raises:
        ConfigError: the file is missing or not TOML, a key is unknown, or a value is out of range.
    """
    values: dict[str, Any] = {}
    if file is not None:
        values.update(_read_toml(file))
    values.update({key: value for key, value in options.items() if value is not None})
    try:
        return RunConfig(**values)
    except ValidationError as error:
        first = error.errors()[0]
        where = "".join(f"--{str(part).replace('_', '-')} " for part in first["loc"][:1])
        what = first["msg"].removeprefix("Value error, ")
        shown = first["loc"] not in ((), ("naming_url",))  # an address may hold a password
        given = f" (given: {first['input']!r})" if shown and first["type"] != "missing" else ""
        raise ConfigError(f"{where}{what}{given}.", hint="fi-store run --help") from error


def _read_toml(file: Path) -> dict[str, Any]:
    try:
        values = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"The configuration file {file} cannot be read: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} is not TOML: {error}.") from error
    return {key.replace("-", "_"): value for key, value in values.items()}
