"""The options of `run`, `ingest` and `demo`: one line for each field of `RunConfig`.

The help texts and defaults are repeated from `fi_store.config`, because that module imports pydantic and would make
`--help` slow; a test keeps the two the same. An option that is not given is None, so it does not override the file.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

if TYPE_CHECKING:
    from fi_store.config import RunConfig


@dataclass(frozen=True)
class ConfigOption:
    """One field of `RunConfig` on the command line. `default` is only displayed, not applied here."""

    field: str
    type: Any
    default: str | None
    help: str

    @property
    def flag(self) -> str:
        return "--" + self.field.replace("_", "-")

    def parameter(self) -> inspect.Parameter:
        """The parameter from which Typer makes the option."""
        negative = f"/--no-{self.flag[2:]}" if self.type is bool else ""
        option = typer.Option(
            self.flag + negative,
            help=f"{self.help} [default: {self.default}]" if self.default else self.help,
            show_default=False,
            envvar="FI_STORE" if self.field == "store" else None,
        )
        return inspect.Parameter(
            self.field,
            inspect.Parameter.KEYWORD_ONLY,
            default=None,
            annotation=Annotated[self.type | None, option],
        )


_QUANTIZATION = Literal["auto", "fp32", "fp16", "bf16", "int8", "nf4"]
_SWITCH = Literal["on", "off"]
_INTERVENTIONS = Literal["default", "full", "off"]
_DICTIONARY = Literal["auto", "paired_sae", "crosscoder", "diff_sae", "pca", "mean_diff"]

CONFIG_OPTIONS = tuple(
    ConfigOption(*row)
    for row in (
        ("base_model", str, None, "The model before: hub id with @revision, folder, adapter folder, .gguf file or bundled:smollm2."),
        ("target_model", str, None, "The model after, in any of the same forms."),
        ("prompts_file", list[Path], None, "Prompt files (YAML or JSON), or reasoning, broad, controls. Default: reasoning and controls."),
        ("categories", list[str], None, "Use only prompts of these categories."),
        ("limit_per_category", int, None, "At most this many prompts per category, evenly spaced. Default for the shipped suite: 16."),
        ("output_dir", Path, "feature_interpretation", "The project folder, shared by many runs."),
        ("store", Path, None, "The DuckDB file. Default: fi-store.duckdb in the project folder."),
        ("cache_dir", Path, None, "Folder for converted models."),
        ("device", str, "auto", "auto, cpu, cuda, cuda:N or mps."),
        ("quantization", _QUANTIZATION, "auto", "Precision of the weights; auto measures which is fastest and prints the reason."),
        ("trust_remote_code", bool, None, "Let a hub repository run its own code. Read that code first."),
        ("max_new_tokens", int, "48", "Maximum length of each model's own greedy answer, in tokens."),
        ("chat_template", str, "auto", "The format of the prompts: auto, base, target, own (each model its own), none, or a Jinja file."),
        ("system_prompt", str, None, "A system prompt before every prompt."),
        ("template_arg", list[str], None, "NAME=VALUE, an argument of the chat template, such as enable_thinking=false."),
        ("prefill", str, None, "Text with which every answer begins; both models go on from there."),
        ("seed", int, "0", "Seed for the split, dictionaries, control draws and resampling."),
        ("layers", str, "auto", "Layers to analyze: auto, all, or numbers such as 5,11,17."),
        ("sites", list[str], "resid_post", "Where in each layer activations are read: resid_post, attn_out, mlp_out."),
        ("attribution", _SWITCH, "on", "Backward passes that show through which layers the difference passes: on or off."),
        ("dictionary", _DICTIONARY, "auto", "The kind of dictionary to learn. auto: a paired SAE, or a crosscoder across widths."),
        ("dictionary_seeds", int, "1", "Dictionaries per layer: the first is analyzed, the others show which groups recur."),
        ("dictionary_file", Path, None, "A folder with a pretrained sparse autoencoder, used at its layer instead of learning one."),
        ("n_latents", int, None, "Latents per dictionary. Default: 1024, or twice the width if that is more; at most one per row."),
        ("k", int, "16", "Average number of latents that fire per token (BatchTopK)."),
        ("dictionary_steps", int, "500", "Training steps per dictionary."),
        ("dictionary_batch", int, "1024", "Rows per training step, half from each model."),
        ("candidates", int, "24", "K: how many groups of features are patched one by one; the others are joined first."),
        ("feature_threshold", float, "0.03", "Smallest share of the difference between the models that a finding's patch must close."),
        ("alpha", float, "0.05", "Significance level for the adjusted p."),
        ("crosscoder_file", Path, None, "JSON file of similarities from another tool, shown beside our own."),
        ("skip_activations", bool, None, "Reuse the store's newest extraction of this pair and configuration; the seed may differ."),
        ("skip_naming", bool, None, "Leave results unnamed."),
        ("naming_model", str, None, "A model that proposes names for findings: a reference as above, or its name at --naming-url."),
        ("naming_url", str, None, "OpenAI-compatible endpoint with --naming-model, such as http://localhost:8000/v1."),
        ("interventions", _INTERVENTIONS, "default", "Patches that test causes: default, full (answers under a patch for every finding), or off."),
        ("keep_activations", Literal["all", "analyzed", "none"], "analyzed", "Which layers' activations to keep: all, only the analyzed ones, or none after the analysis."),
        ("skip_visualization", bool, None, "Make the report without charts."),
        ("skip_report", bool, None, "Do not make a report."),
        ("report_format", Literal["markdown", "html", "both"], "both", "markdown, html or both."),
    )
)  # fmt: skip

REPORT_FIELDS = ("skip_report", "skip_visualization", "report_format")
"""Fields that affect only the report."""
DEMO_FIELDS = (
    "output_dir",
    "store",
    "cache_dir",
    "device",
    "quantization",
    "seed",
    "interventions",
    *REPORT_FIELDS,
)
"""Options that the demo accepts; its models and its size come from its data files."""
RESUMABLE_FIELDS = ("output_dir", "store", "cache_dir", "keep_activations", "interventions", *REPORT_FIELDS)
"""Options that can change when a run is resumed; the rest stays as the run was started."""

ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config", metavar="FILE.toml", help="Read options from a TOML file; the command line overrides it."
    ),
]
ResumeOption = Annotated[
    str | None,
    typer.Option("--resume", metavar="RUN", help="Resume an interrupted run with its stored configuration."),
]
DryRunOption = Annotated[
    bool,
    typer.Option(
        "--dry-run", help="Estimate tokens, time, disk and memory without running or writing anything."
    ),
]


def takes_config(fields: Sequence[str] | None = None) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Adds the options for these fields (all by default) to a command, which gets the ones given as its first argument."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        chosen = [option for option in CONFIG_OPTIONS if fields is None or option.field in fields]
        others = list(inspect.signature(command, eval_str=True).parameters.values())[1:]
        names = {option.field for option in chosen}

        def wrapper(**given: Any) -> None:
            options = {name: _plain(name, given.pop(name)) for name in names}
            command({name: value for name, value in options.items() if value is not None}, **given)

        parameters = [option.parameter() for option in chosen]
        signature = inspect.Signature(
            [*parameters, *(other.replace(kind=inspect.Parameter.KEYWORD_ONLY) for other in others)]
        )
        wrapper.__name__, wrapper.__doc__ = command.__name__, command.__doc__
        vars(wrapper)["__signature__"] = signature
        return wrapper

    return decorate


def _plain(name: str, value: Any) -> Any:
    """An option's value in the form that `RunConfig` expects. Lists may use commas or repeat the option."""
    if not isinstance(value, list):
        return value
    if not value:
        return None
    if name in ("prompts_file", "template_arg"):  # a comma may be part of them
        return tuple(value)
    return tuple(part.strip() for item in value for part in str(item).split(",") if part.strip())


def configuration(options: dict[str, Any], file: Path | None) -> RunConfig:
    """The validated configuration from these options and the file."""
    from fi_store.config import make_config

    return make_config(file, **options)
