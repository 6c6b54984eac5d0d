"""The configuration of a run and the constants of the method, with a sentence under each.

`RunConfig` is at once the options of `fi-store run`, the keys of `--config FILE.toml` and what a run stores about
itself. `METHOD` holds the thresholds; what they were set on stands in docs/METHOD.md and bench/LOG.md. This module
imports neither torch nor SQLAlchemy.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from fi_store.errors import ConfigError

Quantization = Literal["auto", "fp32", "fp16", "bf16", "int8", "nf4"]
KeepActivations = Literal["all", "analysed", "none"]
Site = Literal["resid_post", "attn_out", "mlp_out"]
DictionaryKind = Literal["paired_sae", "crosscoder", "diff_sae", "pca", "mean_diff"]
ReportFormat = Literal["markdown", "html", "both"]


@dataclass(frozen=True)
class Method:
    """Thresholds of the method, each with its meaning; formulas stand where they are used."""

    alpha: float = 0.05
    """Level of the adjusted p on the confirmation half, and of the one-sided limits of words and names."""
    floor_minimum: float = 0.01
    """Smallest absolute mean theta that may become a result, whatever the shams say."""
    floor_level: float = 0.9
    """Share of further shams whose largest |mean theta| at one layer and place the floor stays above."""
    sham_bend: float = 3.0
    """Shams vary by factors while their largest |mean theta| is well below 1 / this, by differences above it ..."""
    sham_spread: float = 0.43
    """... with this standard deviation of log(exp(bend * size) - 1) between shams (30 shams of three pairs), ..."""
    sham_spread_weight: float = 6.0
    """... which weighs as this many degrees of freedom beside a run's own shams."""
    floor_quantile: float = 0.999
    """Quantile of |mean theta| over a sham's alive features from where features are candidates ..."""
    floor_quantile_needs: int = 1_000
    """... if at least so many are alive, else the maximum."""
    alive_tokens: int = 12
    """Firing tokens on D under which a feature's scale is meaningless."""
    min_nonzero_clusters: int = 12
    """Clusters with theta != 0 under which a group is too rare to test."""
    min_category_clusters: int = 8
    """Confirmation clusters in a category under which only an interval is given."""
    sign_flips: int = 9_999
    """Random sign flips (by cluster) of the confirmation test."""
    category_permutations: int = 9_999
    """Label permutations of the category contrast."""
    explore_permutations: int = 1_000
    """Sign flips behind the exploration table's pooled-permutation FDR."""
    bootstrap_draws: int = 2_000
    """Bootstrap draws over clusters for every interval."""
    gate0_kl_upper: float = 0.02
    """Upper 95% limit of the mean symmetric KL (nats/token) up to which the behaviour counts as unchanged ..."""
    gate0_agreement: float = 0.95
    """... when the most likely tokens also agree on at least this share of positions."""
    basis_apart: float = 0.5
    """Without a difference in behaviour: median relative difference norm from which the bases may differ ..."""
    basis_cka: float = 0.95
    """... if the median CKA of the layers is at least this."""
    group_token_cosine: float = 0.6
    """Cosine of token-level feature differences that joins two features, within and across layers."""
    group_unit_cosine: float = 0.9
    """Cosine of two groups' scores over the prompts of D from which they are told as one change."""
    group_decoder_cosine: float = 0.7
    """Within a layer: decoder cosine that joins two features."""
    recurrence_cosine: float = 0.7
    """Cosine between a group's leading direction and another seed's group from which the group recurs."""
    pretrained_explained: float = 0.2
    """Explained variance on D of either model that a ready dictionary needs to stand in for a learned one."""
    ratio_epsilon: float = 0.01
    """Share of the median activity that is added to both sides of a ratio."""
    ratio_shared: float = 1.25
    """Ratios inside [1/x, x] with their whole 90% interval are 'shared'; beyond it 'strengthened' or 'weakened'."""
    ratio_added: float = 5.0
    """Ratio from which a feature may be 'added' or 'removed' (if the other model's residuals cannot predict it); where
    a crosscoder's latent scaling was measured, that decides instead."""
    readable_auc: float = 0.9
    """AUC from which a model's residuals tell where a feature fires: the owner's must for 'added' or 'removed', the
    other's must not."""
    redirected_share: float = 0.25
    """Paired SAE: share of a group's weight that its falling and its rising side both need to be a turn ..."""
    redirected_follows: float = 0.7
    """... the correlation from which the rising side is at the tokens of the falling one ..."""
    redirected_apart: float = 0.3
    """... if inside either model the two correlate by less than this."""
    redirected_length: float = 2.0
    """Crosscoder: what a group stands for in the models, if its lengths differ by at most this factor ..."""
    redirected_cosine: float = 0.7
    """... and the cosine is under this, has turned ..."""
    redirected_angles: float = 2.0
    """... if the angle is more than so many times the one between halves of C."""
    scaling_nu_error: float = 0.2
    """Crosscoder: |nu| of the error under which a latent counts as truly one model's ..."""
    scaling_nu_reconstruction: float = 0.5
    """... when |nu| of the reconstruction is also under this."""
    scaling_own_low: float = 0.1
    """Lower limit that the own beta must exceed before nu has a meaning."""
    scaling_tokens: int = 200
    """Firing tokens of C that latent scaling needs ..."""
    scaling_clusters: int = 12
    """... in at least this many clusters."""
    relative_norm_specific: float = 0.9
    """Relative decoder norm from which a crosscoder's latent is a candidate for the target alone (1 - x: the base)."""
    relative_norm_shared: float = 0.1
    """Distance from 1/2 up to which a relative decoder norm counts as shared."""
    name_auc_random_low: float = 0.75
    """Lower limit of the AUC against random negatives that a name needs."""
    name_auc_hard_low: float = 0.60
    """Lower limit of the mean AUC against hard negatives that a name needs."""
    name_margin: float = 0.05
    """How far a name must beat the best single token and the position class."""
    word_prompts: int = 3
    """Prompts in which a word must be pushed to be listed."""
    word_share: float = 0.02
    """Share of all that a group pushes one way in its own position class from which that class alone tells the word."""
    match_stable: float = 0.7
    """Decoder cosine (across spaces: profile correlation) from which a matched result is 'stable' in the later run."""
    match_minimum: float = 0.5
    """Mean of decoder cosine and profile correlation under which two runs' results are not the same thing."""
    match_shared_prompts: int = 8
    """Shared prompts from which profiles are compared prompt by prompt instead of category by category."""
    max_results: int = 12
    """Results that a run reports at most."""
    stored_tokens: int = 20
    """Tokens with the largest KL contribution that are stored per position and direction."""


METHOD = Method()


class RunConfig(BaseModel):
    """Everything that determines a run. Frozen; refused on construction when options contradict each other."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    base_model: str = Field(
        description="The model before: hub id with @revision, folder, adapter folder, .gguf file or bundled:smollm2."
    )
    target_model: str = Field(description="The model after, in any of the same forms.")
    prompts_file: tuple[Path, ...] = Field(
        default=(),
        description="Prompt files (YAML or JSON), or reasoning, broad, controls; by default reasoning and controls.",
    )
    categories: tuple[str, ...] = Field(default=(), description="Only prompts of these categories.")
    limit_per_category: int | None = Field(
        default=None,
        ge=1,
        description="At most this many prompts of each category, evenly spread; 16 of the shipped suite by default.",
    )
    output_dir: Path = Field(
        default=Path("feature_interpretation"), description="The project folder that many runs share."
    )
    store: Path | None = Field(
        default=None, description="The DuckDB file; by default fi-store.duckdb in the project folder."
    )
    cache_dir: Path | None = Field(default=None, description="Where converted models are kept.")
    device: str = Field(
        default="auto", pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$", description="auto, cpu, cuda, cuda:N or mps."
    )
    quantization: Quantization = Field(
        default="auto", description="Precision of the weights; auto measures and says why."
    )
    trust_remote_code: bool = Field(
        default=False, description="Let a hub repository run its own code. Off unless you read it."
    )
    seed: int = Field(
        default=0,
        ge=0,
        le=2**31 - 1,
        description="Seed of the split, the dictionaries, shams and resampling.",
    )
    max_new_tokens: int = Field(
        default=48, ge=2, le=4096, description="Length of each model's own greedy answer."
    )
    layers: str = Field(
        default="auto",
        pattern=r"^(auto|all|\d+(,\d+)*)$",
        description="Layers to analyse: auto, all, or numbers such as 5,11,17.",
    )
    sites: tuple[Site, ...] = Field(
        default=("resid_post",), min_length=1, description="Where activations are read."
    )
    dictionary: DictionaryKind = Field(
        default="paired_sae", description="The kind of dictionary that is learned."
    )
    dictionary_seeds: int = Field(
        default=1,
        ge=1,
        le=20,
        description="Dictionaries per layer: the first is analysed, the others say what recurs.",
    )
    dictionary_file: Path | None = Field(
        default=None,
        description="A folder with a ready sparse autoencoder, used at its layer instead of a learned one.",
    )
    n_latents: int = Field(default=1024, ge=8, le=2**20, description="Latents per dictionary.")
    k: int = Field(default=16, ge=1, description="Latents that fire per token on average (BatchTopK).")
    dictionary_steps: int = Field(default=500, ge=1, description="Training steps per dictionary.")
    dictionary_batch: int = Field(
        default=1024, ge=2, description="Rows per training step (half of them from each model)."
    )
    candidates: int = Field(
        default=30, ge=1, le=1000, description="K: groups that go on to the confirmation half."
    )
    shams: int = Field(default=3, ge=0, le=20, description="Equal-norm sham targets behind the floor.")
    feature_threshold: float = Field(
        default=METHOD.floor_minimum,
        ge=0,
        le=10,
        description="Smallest absolute mean theta that may become a result; the measured floor applies besides.",
    )
    alpha: float = Field(default=METHOD.alpha, gt=0, lt=1, description="Level of the adjusted p.")
    keep_activations: KeepActivations = Field(
        default="analysed",
        description="Token-level activations: of all layers, of the analysed ones, or none once the analysis is done.",
    )
    crosscoder_file: Path | None = Field(
        default=None, description="JSON similarities from elsewhere, shown beside our own."
    )
    skip_activations: bool = Field(
        default=False,
        description="Use the newest extraction of this pair and configuration in the store, also under another seed.",
    )
    skip_naming: bool = Field(default=False, description="Leave results unnamed.")
    skip_probes: bool = Field(
        default=False,
        description="Do not run the models again after the analysis (the loss with reconstructions spliced in).",
    )
    skip_visualization: bool = Field(default=False, description="Report without charts.")
    skip_report: bool = Field(default=False, description="No report.")
    report_format: ReportFormat = Field(default="both", description="markdown, html or both.")

    @field_validator("base_model", "target_model")
    @classmethod
    def _not_empty(cls, value: str) -> str:
        if not value.strip():
            raise ValueError("must not be empty")
        return value.strip()

    @model_validator(mode="after")
    def _consistent(self) -> RunConfig:
        if self.k > self.n_latents:
            raise ValueError(f"k = {self.k} is larger than n_latents = {self.n_latents}")
        if self.dictionary_seeds > 1 and (self.dictionary_file or self.dictionary in ("pca", "mean_diff")):
            raise ValueError(
                "dictionary_seeds asks for dictionaries that a seed changes; this one is always the same"
            )
        if self.skip_report and self.crosscoder_file is not None and self.skip_visualization:
            raise ValueError("crosscoder_file is shown in charts and reports only, and both are skipped")
        return self

    @property
    def store_path(self) -> Path:
        """The DuckDB file of this project."""
        return self.store if self.store is not None else self.output_dir / "fi-store.duckdb"


EXTRACTION_FIELDS = (
    "max_new_tokens", "sites", "shams", "quantization", "device", "trust_remote_code",
)  # fmt: skip
"""What, beside models and prompts, determines an extraction; `--skip-activations` looks for equality in these. The seed
is none of it: it divides the prompts, and draws the shams that a run reads, which a later seed takes over."""


def make_config(file: Path | None = None, **options: Any) -> RunConfig:
    """A checked configuration: options that are not None beat the TOML file, which beats the defaults.

    Raises:
        ConfigError: the file is missing or not TOML, a key is unknown, a value is outside its range.
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
        given = f" (given: {first['input']!r})" if first["loc"] and first["type"] != "missing" else ""
        raise ConfigError(f"{where}{what}{given}.", hint="fi-store run --help") from error


def _read_toml(file: Path) -> dict[str, Any]:
    try:
        values = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"The configuration file {file} cannot be read: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} is not TOML: {error}.") from error
    return {key.replace("-", "_"): value for key, value in values.items()}
