"""The commands `prompts list|show|validate|new|import`: prompt files and their contents."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from fi_store.cli.common import FormatOption, ListByDefault, OutputOption, emit, say, say_facts
from fi_store.commands import command_line
from fi_store.errors import NotFoundError, PromptFileError, UsageError

if TYPE_CHECKING:
    from fi_store.prompts import PromptRecord


app = typer.Typer(help="Work with prompts: list, show, validate, new, import.", cls=ListByDefault)


FilesOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--prompts-file",
        help="Prompt files (YAML or JSON), or reasoning, broad, controls. Default: reasoning and controls.",
    ),
]


@app.command("list")
def list_prompts(
    prompts_file: FilesOption = None, output_format: FormatOption = "table", output: OutputOption = None
) -> None:
    """List the categories, with their prompts, families, difficulty, and how many can be graded."""
    from fi_store.prompts import load_suite

    suite = load_suite(prompts_file or ())
    rows = []
    for name in suite.categories:
        chosen = [prompt for prompt in suite.prompts if prompt.category == name]
        levels = sorted({prompt.difficulty for prompt in chosen if prompt.difficulty is not None})
        rows.append(
            {
                "category": name,
                "prompts": len(chosen),
                "families": len({prompt.family for prompt in chosen}),
                "with_control": sum(prompt.control is not None for prompt in chosen),
                "gradable": sum(prompt.grader is not None for prompt in chosen),
                "difficulty": "-".join(str(level) for level in dict.fromkeys((*levels[:1], *levels[-1:]))),
            }
        )
    emit(rows, output_format, output)


@app.command("show")
def show_prompts(
    category: Annotated[str | None, typer.Option("--category", help="Only this category.")] = None,
    key: Annotated[str | None, typer.Option("--id", metavar="ID", help="Only this prompt.")] = None,
    prompts_file: Annotated[
        list[Path] | None,
        typer.Option("--prompts-file", help="Prompt files (YAML or JSON). Default: all shipped ones."),
    ] = None,
    output_format: FormatOption = "table",
    output: OutputOption = None,
) -> None:
    """Show the prompts, with their answers, graders and the failures they test for."""
    from fi_store.prompts import NAMED_FILES, check_categories, load_suite

    prompts = load_suite(prompts_file or [Path(name) for name in NAMED_FILES]).prompts
    check_categories([category] if category is not None else [], prompts, "--category")
    prompts = tuple(prompt for prompt in prompts if category in (None, prompt.category))
    chosen = [prompt for prompt in prompts if key in (None, prompt.key)]
    if not chosen:
        close = get_close_matches(str(key), [prompt.key for prompt in prompts], n=1)
        hint = command_line("prompts", "show", "--id", close[0]) if close else "fi-store prompts list"
        raise NotFoundError(f"No prompt has the id {key!r}.", hint=hint)
    rows = [_row(prompt) for prompt in chosen]
    if key is not None and output_format == "table" and output is None:
        say_facts({name: value for name, value in rows[0].items() if value is not None})
    else:
        emit(rows, output_format, output)


def _row(prompt: PromptRecord) -> dict[str, Any]:
    """A prompt as a table row, with the grader as prompt files write it."""
    from fi_store.prompts import grader_text

    return {
        "id": prompt.key,
        "difficulty": prompt.difficulty,
        "text": prompt.text,
        "control": prompt.control,
        "answer": prompt.answer,
        "grader": grader_text(prompt.grader) if prompt.grader is not None else None,
        "failure_mode": prompt.failure_mode,
        "failure_answer": prompt.failure_answer,
    }


@app.command("validate")
def validate(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="YAML or JSON files.")],
) -> None:
    """Check prompt files.

    Prints up to 20 complaints per file, each as file:line, what is wrong and how to fix it."""
    from fi_store.method import METHOD
    from fi_store.prompts import load_suite
    from fi_store.wording import count

    with _complaints_on_lines(command_line("prompts", "validate", *files)):
        suite = load_suite(files)
    say(f"{_prompts_in(suite.prompts)}: no problems.")
    families = len({prompt.family for prompt in suite.prompts})
    needed = 2 * METHOD.enough_clusters
    if families < needed:
        counted = count(families, "family", "families")
        say(f"Note: {counted}; with fewer than {needed}, nothing can be tested (half are for confirmation).")
    lacking = sum(prompt.control is None for prompt in suite.prompts)
    if lacking:
        counted = count(lacking, "prompt has", "prompts have")
        say(f"Note: {counted} no control text, which makes the test of names weaker.")


def _prompts_in(prompts: Sequence[PromptRecord]) -> str:
    """`12 prompts in 2 categories`."""
    from fi_store.wording import count

    categories = count(len({prompt.category for prompt in prompts}), "category", "categories")
    return f"{count(len(prompts), 'prompt')} in {categories}"


@app.command("new")
def new_file(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The file to write; it must not exist.")],
    category: Annotated[
        list[str] | None, typer.Option("--category", help="A category to start with. Repeat for more.")
    ] = None,
) -> None:
    """Write a commented prompt file as a starting point."""
    from fi_store.prompts import checked_category, starter, write_new

    names = tuple(dict.fromkeys(checked_category(name) for name in category or ()))
    write_new(file, starter(file, names))
    say(f"Replace the prompts in {file} with your own.")
    say(f"Next: {command_line('prompts', 'validate', file)}")


@app.command("import")
def import_file(
    source: Annotated[
        Path,
        typer.Argument(metavar="SOURCE", help="CSV with a header, JSON lines, or lists in JSON or YAML."),
    ],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="FILE", help="The prompt file to write; it must not exist."),
    ],
    category: Annotated[
        str | None, typer.Option("--category", help="The category for rows without one.")
    ] = None,
    column: Annotated[
        list[str] | None,
        typer.Option(
            "--column", metavar="FIELD=NAME", help="The column that holds a field. Repeat for more."
        ),
    ] = None,
    ignore: Annotated[
        list[str] | None,
        typer.Option("--ignore", metavar="NAME", help="Leave out a column. Repeat for more."),
    ] = None,
    turn: Annotated[
        Literal["first", "last"] | None,
        typer.Option("--turn", help="Which turn of the user to take from conversations that have several."),
    ] = None,
) -> None:
    """Make a prompt file from texts in another format.

    CSV columns and JSON keys are named like the fields of a prompt; only text is required. If there is no text, a
    column called prompt, question, instruction or messages (conversations in OpenAI's form) is taken for it. Prompts
    without an id get one from their category and number. The command says what it took for what."""
    from fi_store.prompts import Columns, full_form, read_source, write_new

    columns = (
        Columns(_named_columns(column or ()), tuple(ignore or ()), turn) if column or ignore or turn else None
    )
    with _complaints_on_lines(command_line("prompts", "import", source, "--output", output)):
        read, notes = read_source(source, category, columns)
    write_new(output, full_form(read.prompts, output.stem, f"Imported from {source.name}.", read.version))
    for note in notes:
        say(f"Note: {note}")
    say(f"{_prompts_in(read.prompts)}, in {output}.")
    say(f"Next: {command_line('prompts', 'validate', output)}")


def _named_columns(texts: Sequence[str]) -> dict[str, str]:
    """FIELD=NAME texts as a mapping."""
    from fi_store.prompts import PROMPT_KEYS

    named = {}
    for text in texts:
        name, equals, column = text.partition("=")
        if not equals or not column or name not in PROMPT_KEYS or name in named:
            raise UsageError(
                f"--column {text!r} is not FIELD=NAME with a field of its own.",
                hint=f"the fields are {', '.join(PROMPT_KEYS)}",
            )
        named[name] = column
    return named


@contextmanager
def _complaints_on_lines(again: str) -> Iterator[None]:
    """Prints the complaints about a file, one per line, and ends the command with their number."""
    from fi_store.wording import count

    try:
        yield
    except PromptFileError as error:
        if not error.complaints:
            raise
        for complaint in error.complaints:
            say(str(complaint))
        counted = count(len(error.complaints), "complaint")
        raise PromptFileError(f"{counted}, see above.", hint=again) from None
