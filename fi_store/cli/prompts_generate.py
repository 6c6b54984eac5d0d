"""The command that generates prompts: prompts generate."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fi_store.cli.common import OutputOption, emit, say
from fi_store.errors import UsageError

if TYPE_CHECKING:
    from fi_store.prompts.generated import Generated


def generate(
    family: Annotated[
        str, typer.Option("--family", metavar="NAME[,NAME...]", help="Families of prompts, or all.")
    ] = "",
    n: Annotated[int, typer.Option("--n", min=1, help="Prompts in all, dealt evenly to the families.")] = 100,
    seed: Annotated[int, typer.Option("--seed", min=0, help="The same seed gives the same prompts.")] = 0,
    output: OutputOption = None,
    listed: Annotated[bool, typer.Option("--list", help="List the families instead.")] = False,
) -> None:
    """Generate a prompt file with the package reasoning-gym (pip extra rg).

    Prompts of one template count as one unit in the statistics, so take many families rather than many prompts of
    one; the command says how many units a file has. Generated prompts have no control texts."""
    from fi_store.prompts import cluster_prompts, load_suite
    from fi_store.prompts.generated import MAX_PROMPTS, write_prompts
    from fi_store.prompts.generated import generate as generate_prompts

    if listed:
        _list_families(output)
        return
    if output is None:
        raise UsageError(
            "--output: no file is named.",
            hint=f"fi-store prompts generate --family {family or 'all'} --output my.yaml",
        )
    if n > MAX_PROMPTS:
        raise UsageError(
            f"--n {n}: a file has {MAX_PROMPTS} prompts at most.", hint="several files, with a seed each"
        )
    made = generate_prompts([name.strip() for name in family.split(",") if name.strip()], n, seed)
    units = len(set(cluster_prompts(made.prompts)))
    write_prompts(made, units, output)
    load_suite([output])  # what was written is what `prompts validate` accepts
    _tell(made, units, output)


def _tell(made: Generated, units: int, output: Path) -> None:
    """What the file holds, family by family, what was left out, and what comes next."""
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
    say(f"{count(len(made.prompts), 'prompt')} of {families}, {count(units, 'unit')}, in {output}.")
    short = [tally for tally in made.tallies if len(tally.prompts) < tally.wanted]
    for tally in short:
        say(f"Note: {tally.name} has no more than {len(tally.prompts)} of {tally.wanted} prompts.")
    needed = 2 * METHOD.min_nonzero_clusters
    if units < needed:
        say(f"Note: under {needed} units nothing can be tested; take more families (--family all).")
    say("Note: generated prompts have no control texts; names are judged more weakly without.")
    say(f"Next: fi-store run --prompts-file {output}")


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
