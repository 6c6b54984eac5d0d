"""The options of `run`, `ingest` and `demo`: one line for each field of `RunConfig`.

The sentences and defaults stand in `fi_store.config` too, which imports pydantic and would make `--help` slow; a
test holds both to be the same. Options are None when they are not given, so that a file's value can stand.
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

DEFAULT_FOLDER = Path("feature_interpretation")
DEFAULT_STORE = DEFAULT_FOLDER / "fi-store.duckdb"


@dataclass(frozen=True)
class ConfigOption:
    """One field of `RunConfig` on the command line; `default` is shown, never applied here."""

    field: str
    type: Any
    default: str | None
    help: str

    @property
    def flag(self) -> str:
        return "--" + self.field.replace("_", "-")

    def parameter(self) -> inspect.Parameter:
        """The parameter that Typer makes the option from."""
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
_DICTIONARY = Literal["paired_sae", "crosscoder", "diff_sae", "pca", "mean_diff"]

CONFIG_OPTIONS = tuple(
    ConfigOption(*row)
    for row in (
        ("base_model", str, None, "The model before: hub id with @revision, folder, adapter folder, .gguf file or bundled:smollm2."),
        ("target_model", str, None, "The model after, in any of the same forms."),
        ("prompts_file", list[Path], None, "Prompt files (YAML or JSON), or reasoning, broad, controls; by default reasoning and controls."),
        ("categories", list[str], None, "Only prompts of these categories."),
        ("limit_per_category", int, None, "At most this many prompts of each category, evenly spread; 16 of the shipped suite by default."),
        ("output_dir", Path, "feature_interpretation", "The project folder that many runs share."),
        ("store", Path, None, "The DuckDB file; by default fi-store.duckdb in the project folder."),
        ("cache_dir", Path, None, "Where converted models are kept."),
        ("device", str, "auto", "auto, cpu, cuda, cuda:N or mps."),
        ("quantization", _QUANTIZATION, "auto", "Precision of the weights; auto measures and says why."),
        ("trust_remote_code", bool, None, "Let a hub repository run its own code. Off unless you read it."),
        ("max_new_tokens", int, "48", "Length of each model's own greedy answer."),
        ("seed", int, "0", "Seed of the split, the dictionaries, shams and resampling."),
        ("layers", str, "auto", "Layers to analyze: auto, all, or numbers such as 5,11,17."),
        ("sites", list[str], "resid_post", "Where activations are read."),
        ("dictionary", _DICTIONARY, "paired_sae", "The kind of dictionary that is learned."),
        ("dictionary_seeds", int, "1", "Dictionaries per layer: the first is analyzed, the others say what recurs."),
        ("dictionary_file", Path, None, "A folder with a ready sparse autoencoder, used at its layer instead of a learned one."),
        ("n_latents", int, "1024", "Latents per dictionary."),
        ("k", int, "16", "Latents that fire per token on average (BatchTopK)."),
        ("dictionary_steps", int, "500", "Training steps per dictionary."),
        ("dictionary_batch", int, "1024", "Rows per training step (half of them from each model)."),
        ("candidates", int, "30", "K: groups that go on to the confirmation half."),
        ("shams", int, "3", "Equal-norm sham targets behind the floor."),
        ("feature_threshold", float, "0.01", "Smallest absolute mean theta that may become a result; the measured floor applies besides."),
        ("alpha", float, "0.05", "Level of the adjusted p."),
        ("crosscoder_file", Path, None, "JSON similarities from elsewhere, shown beside our own."),
        ("skip_activations", bool, None, "Use the newest extraction of this pair and configuration in the store, also under another seed."),
        ("skip_naming", bool, None, "Leave results unnamed."),
        ("skip_probes", bool, None, "Do not run the models again after the analysis (the loss with reconstructions spliced in)."),
        ("keep_activations", Literal["all", "analyzed", "none"], "analyzed", "Token-level activations: of all layers, of the analyzed ones, or none once the analysis is done."),
        ("skip_visualization", bool, None, "Report without charts."),
        ("skip_report", bool, None, "No report."),
        ("report_format", Literal["markdown", "html", "both"], "both", "markdown, html or both."),
    )
)  # fmt: skip

REPORT_FIELDS = ("skip_report", "skip_visualization", "report_format")
"""What concerns the report only."""
DEMO_FIELDS = (
    "output_dir",
    "store",
    "cache_dir",
    "device",
    "quantization",
    "seed",
    "skip_probes",
    *REPORT_FIELDS,
)
"""What a person may say to the demo; its pair and its size come from data."""
RESUMABLE_FIELDS = ("output_dir", "store", "cache_dir", "keep_activations", "skip_probes", *REPORT_FIELDS)
"""What may be said anew when a run is resumed; the rest is as the run began."""

ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config", metavar="FILE.toml", help="Options from a TOML file; the command line beats it."
    ),
]
ResumeOption = Annotated[
    str | None,
    typer.Option("--resume", metavar="RUN", help="Go on with an interrupted run, as it was configured."),
]
DryRunOption = Annotated[
    bool,
    typer.Option("--dry-run", help="Estimate tokens, time, disk and memory; run nothing, write nothing."),
]


def takes_config(fields: Sequence[str] | None = None) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Gives a command the options of these fields (all by default); it receives those given as its first argument."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        chosen = [option for option in CONFIG_OPTIONS if fields is None or option.field in fields]
        own = list(inspect.signature(command, eval_str=True).parameters.values())[1:]
        names = {option.field for option in chosen}

        def wrapper(**given: Any) -> None:
            options = {name: _plain(name, given.pop(name)) for name in names}
            command({name: value for name, value in options.items() if value is not None}, **given)

        parameters = [option.parameter() for option in chosen]
        signature = inspect.Signature(
            [*parameters, *(one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in own)]
        )
        wrapper.__name__, wrapper.__doc__ = command.__name__, command.__doc__
        vars(wrapper)["__signature__"] = signature
        return wrapper

    return decorate


def _plain(name: str, value: Any) -> Any:
    """An option's value as `RunConfig` takes it; lists may be written with commas or by repeating the option."""
    if not isinstance(value, list):
        return value
    if not value:
        return None
    if name == "prompts_file":
        return tuple(value)
    return tuple(part.strip() for item in value for part in str(item).split(",") if part.strip())


def configuration(options: dict[str, Any], file: Path | None) -> RunConfig:
    """The checked configuration of the given options and the file."""
    from fi_store.config import make_config

    return make_config(file, **options)
