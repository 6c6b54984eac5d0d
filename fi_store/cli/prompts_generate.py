"""The command `prompts generate`: makes prompt files with reasoning-gym."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fi_store.cli.common import OutputOption, emit, say
from fi_store.commands import command_line
from fi_store.errors import UsageError

if TYPE_CHECKING:
    from fi_store.prompts.generated import Generated


def generate(
    family: Annotated[
        str, typer.Option("--family", metavar="NAME[,NAME...]", help="Prompt families, or all.")
    ] = "",
    n: Annotated[
        int, typer.Option("--n", min=1, help="Total number of prompts, spread evenly over the families.")
    ] = 100,
    seed: Annotated[int, typer.Option("--seed", min=0, help="The same seed gives the same prompts.")] = 0,
    output: OutputOption = None,
    listed: Annotated[bool, typer.Option("--list", help="List the families instead.")] = False,
) -> None:
    """Generate a prompt file with the package reasoning-gym (pip extra rg).

    Prompts from one template count as one cluster in the statistics, so use many families instead of many prompts from
    one. The command prints how many clusters a file has. Generated prompts have no control texts."""
    from fi_store.prompts import cluster_prompts, load_suite
    from fi_store.prompts.generated import MAX_PROMPTS, write_prompts
    from fi_store.prompts.generated import generate as generate_prompts

    if listed:
        _list_families(output)
        return
    if output is None:
        raise UsageError(
            "--output is missing.",
            hint=command_line("prompts", "generate", "--family", family or "all", "--output", "my.yaml"),
        )
    if n > MAX_PROMPTS:
        raise UsageError(
            f"--n {n}: a file can have at most {MAX_PROMPTS} prompts.",
            hint="make several files, each with its own --seed",
        )
    made = generate_prompts([name.strip() for name in family.split(",") if name.strip()], n, seed)
    clusters = len(set(cluster_prompts(made.prompts)))
    write_prompts(made, clusters, output)
    load_suite([output])  # check that `prompts validate` would accept the file
    _print_summary(made, clusters, output)


def _print_summary(made: Generated, clusters: int, output: Path) -> None:
    """Prints what the file contains by family, what was left out, and the next command."""
    from fi_store.method import METHOD
    from fi_store.prompts.generated import reasons
    from fi_store.wording import count

    rows = []
    for tally in made.tallies:
        answer, share = tally.majority
        rows.append(
            {
                "family": tally.name,
                "category": tally.prompts[0].category,
                "prompts": len(tally.prompts),
                "templates": len({prompt.family for prompt in tally.prompts}),
                "majority_baseline": f"{share:.0%} ({answer[:20]})",
                "skipped": reasons(tally),
            }
        )
    emit(rows, "table")
    families = count(len(rows), "family", "families")
    say(f"{count(len(made.prompts), 'prompt')} of {families}, {count(clusters, 'cluster')}, in {output}.")
    short = [tally for tally in made.tallies if len(tally.prompts) < tally.wanted]
    for tally in short:
        say(f"Note: {tally.name} has only {len(tally.prompts)} of {tally.wanted} prompts.")
    needed = 2 * METHOD.enough_clusters
    if clusters < needed:
        say(
            f"Note: with fewer than {needed} clusters, nothing can be tested; use more families (--family all)."
        )
    say("Note: generated prompts have no control texts, which makes the test of names weaker.")
    say(f"Next: {command_line('run', '--prompts-file', output)}")


def _list_families(output: Path | None) -> None:
    from fi_store.prompts.generated import FAMILIES

    rows = [
        {
            "family": name,
            "category": family.category,
            "grader": family.judge.kind,
            "difficulty": f"1-{len(family.levels)}" if len(family.levels) > 1 else "3",
            "templates": "several" if family.variant or family.drawn else "1",
        }
        for name, family in FAMILIES.items()
    ]
    emit(rows, "table", output)
