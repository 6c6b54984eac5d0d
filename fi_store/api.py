"""The Python functions: the same verbs and defaults as the command line, but they print nothing.

    run = run_feature_interpretation_pipeline(base_model="A", target_model="B", output_dir="project")
    with open_store(run.store) as store:
        store.rows("SELECT rank, name, effect FROM finding ORDER BY rank")

Step by step, each call takes the `RunHandle` that the previous call returned:

    data = extract_activations_for_comparison(base_model="A", target_model="B", prompt_categories={"sums": ["1+1?"]})
    features = name_features(data)
    create_visualizations(features)
    generate_report(features, report_format="markdown")

All of them raise `fi_store.FiStoreError`; its `hint` says what to do next.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fi_store import workflow
from fi_store.config import RunConfig, make_config
from fi_store.errors import UsageError
from fi_store.handle import RunHandle
from fi_store.ids import content_id
from fi_store.progress import Display, Progress, Silent
from fi_store.prompts import PromptSuite, suite_from_lists, suite_of_run
from fi_store.store import Store

PLAIN_CATEGORY = "prompts"
"""The category for texts given as a plain list."""


def run_feature_interpretation_pipeline(
    *,
    base_model: str,
    target_model: str,
    prompt_categories: Mapping[str, Sequence[str]] | None = None,
    prompts: PromptSuite | str | Path | Sequence[str | Path] | None = None,
    output_dir: str | Path = "feature_interpretation",
    store: str | Path | None = None,
    device: str = "auto",
    quantization: str = "auto",
    threshold: float | None = None,
    crosscoder_data: Mapping[str, Any] | str | Path | None = None,
    crosscoder_file: str | Path | None = None,
    report_format: str = "both",
    cache_dir: str | Path | None = None,
    skip_activations: bool = False,
    skip_naming: bool = False,
    skip_visualization: bool = False,
    skip_report: bool = False,
    display: Display | None = None,
    **options: Any,
) -> RunHandle:
    """Does everything in one call: runs both models on the prompts, analyzes, draws charts, writes the report.

    The prompts are the shipped suite by default. Pass `prompt_categories={"reasoning": ["..."]}`, or pass `prompts`:
    one or more files (`Path`, or a single string), a list of texts, or a `PromptSuite`. `threshold` is the smallest
    share of the difference between the models that a finding must close. `options` are other fields of
    `fi_store.RunConfig`, such as `seed` or `max_new_tokens`.

    Raises:
        FiStoreError: with the message and hint that the command line would print.
    """
    config = _config(
        output_dir,
        store,
        crosscoder_data if crosscoder_data is not None else crosscoder_file,
        base_model=base_model,
        target_model=target_model,
        device=device,
        quantization=quantization,
        feature_threshold=threshold,
        report_format=report_format,
        cache_dir=cache_dir,
        skip_activations=skip_activations,
        skip_naming=skip_naming,
        skip_visualization=skip_visualization,
        skip_report=skip_report,
        **options,
    )
    suite = _suite(prompt_categories, prompts, config)
    workflow.check_inputs(config, suite)
    with Store.open(config.store_path, create=True) as opened:
        outcome = workflow.execute(opened, config, suite, Progress(display or Silent()))
    return RunHandle(config.store_path, outcome.run_id)


def extract_activations_for_comparison(
    *,
    base_model: str,
    target_model: str,
    prompt_categories: Mapping[str, Sequence[str]] | None = None,
    prompts: PromptSuite | str | Path | Sequence[str | Path] | None = None,
    output_dir: str | Path = "feature_interpretation",
    store: str | Path | None = None,
    device: str = "auto",
    quantization: str = "auto",
    cache_dir: str | Path | None = None,
    display: Display | None = None,
    **options: Any,
) -> RunHandle:
    """Runs the first stage: both models answer and read the prompts; activations and divergences go to the store."""
    config = _config(
        output_dir,
        store,
        None,
        base_model=base_model,
        target_model=target_model,
        device=device,
        quantization=quantization,
        cache_dir=cache_dir,
        **options,
    )
    suite = _suite(prompt_categories, prompts, config)
    workflow.check_inputs(config, suite)
    with Store.open(config.store_path, create=True) as opened:
        run_id = workflow.extract(opened, config, suite, Progress(display or Silent()))
    return RunHandle(config.store_path, run_id)


def name_features(
    activation_data: RunHandle,
    *,
    crosscoder_data: Mapping[str, Any] | str | Path | None = None,
    threshold: float | None = None,
    skip_naming: bool | None = None,
    display: Display | None = None,
    **options: Any,
) -> RunHandle:
    """Runs the second stage: dictionaries, effects, tests and names. Needs no model.

    Arguments given here replace the run's stored configuration. `options` are other fields of the analysis, such as
    `layers` or `candidates`.
    """
    with Store.open(activation_data.store) as opened:
        changes = {
            "feature_threshold": threshold,
            "skip_naming": skip_naming,
            "crosscoder_file": _crosscoder_file(crosscoder_data, opened.folder),
            **options,
        }
        workflow.reconfigure(opened, activation_data.run_id, changes)
        workflow.analyze(opened, activation_data.run_id, Progress(display or Silent()))
    return activation_data


def create_visualizations(
    feature_data: RunHandle, *, output_dir: str | Path | None = None, display: Display | None = None
) -> list[Path]:
    """Draws the charts of an analyzed run (PNG, SVG) and writes its features by category (JSON); returns the files."""
    from render.report import render_visualizations

    with Store.open(feature_data.store) as opened:
        files = render_visualizations(opened, feature_data.run_id, progress=Progress(display or Silent()))
        return workflow.export(opened, files, Path(output_dir) if output_dir else opened.folder)


def generate_report(
    feature_data: RunHandle,
    *,
    output_dir: str | Path | None = None,
    report_format: str = "both",
    skip_visualization: bool = False,
    display: Display | None = None,
) -> list[Path]:
    """Writes the report of an analyzed run (`markdown`, `html` or `both`) with its charts; returns the files."""
    if report_format not in ("markdown", "html", "both"):
        raise UsageError(f"There is no report format {report_format!r}.", hint="markdown, html or both")
    with Store.open(feature_data.store) as opened:
        files = workflow.report(
            opened,
            feature_data.run_id,
            Progress(display or Silent()),
            report_format=report_format,
            charts=not skip_visualization,
        )
        return workflow.export(opened, files, Path(output_dir) if output_dir else opened.folder)


def open_store(path: str | Path | RunHandle, *, read_only: bool = True) -> Store:
    """Opens the store of a project folder, a file, or a run; use it in a `with` statement.

    Raises:
        NotFoundError: there is no such store.
    """
    file = path.store if isinstance(path, RunHandle) else Path(path)
    return Store.open(file / "fi-store.duckdb" if file.is_dir() else file, read_only=read_only)


def _config(
    output_dir: str | Path,
    store: str | Path | None,
    crosscoder: Mapping[str, Any] | str | Path | None,
    **options: Any,
) -> RunConfig:
    folder = Path(store).parent if store is not None else Path(output_dir)
    return make_config(
        None,
        output_dir=Path(output_dir),
        store=Path(store) if store is not None else None,
        crosscoder_file=_crosscoder_file(crosscoder, folder),
        **options,
    )


def _suite(
    lists: Mapping[str, Sequence[str]] | None,
    prompts: PromptSuite | str | Path | Sequence[str | Path] | None,
    config: RunConfig,
) -> PromptSuite:
    """The prompts of a call, in whatever form they were given, with the configuration's filters applied."""
    if lists is not None and prompts is not None:
        raise UsageError("prompt_categories and prompts cannot be combined; give one of them.")
    if isinstance(prompts, PromptSuite):
        return prompts
    if isinstance(prompts, (str, Path)):
        prompts = [Path(prompts)]
    texts = [item for item in prompts or () if isinstance(item, str)]
    if texts and len(texts) < len(prompts or ()):
        raise UsageError("prompts mixes texts (str) and files (Path); give only one kind.")
    if texts:
        lists = {PLAIN_CATEGORY: texts}
    if lists is not None:
        return suite_from_lists(lists, config.limit_per_category)
    files = tuple(Path(item) for item in prompts or ()) or config.prompts_file
    return suite_of_run(files, config.categories, config.limit_per_category)


def _crosscoder_file(given: Mapping[str, Any] | str | Path | None, folder: Path) -> Path | None:
    """The path of an outside file of similarities; a mapping is first written to a file beside the store."""
    if given is None or isinstance(given, (str, Path)):
        return Path(given) if given is not None else None
    path = folder / "crosscoder" / f"{content_id(given)}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(given, indent=1), encoding="utf-8")
    return path
