"""A small store of prompts with graders and given replies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fi_store.store import Store
from fi_store.store.tables import Generation, Prompt
from tests.helpers import by_hand

CLOSE = "</think>"
NUMBER = {"kind": "number", "tolerance": 0}


def prompt(number: int, answer: str | None, grader: dict[str, Any] | None, difficulty: int = 1) -> Prompt:
    return Prompt(
        id=f"p{number}",
        key=f"c/{number}",
        category="c",
        family=f"f{number}",
        difficulty=difficulty,
        language="en",
        text="The 7 cups stand on a shelf of oak. How many cups stand there?",
        answer=answer,
        grader=grader,
    )


def graded_store(
    folder: Path, prompts: list[Prompt], replies: dict[tuple[int, str], tuple[str, bool]]
) -> tuple[Store, str]:
    """An open store with a run over `prompts`; replies: (prompt, author) -> text and whether it ended by itself.

    What stands before </think> is thinking.
    """
    store = by_hand.open_new(folder)
    n = len(prompts)
    run = by_hand.add_run(
        store, by_hand.model("a"), by_hand.model("b"), list(range(n)), ["D", "C"] * (n // 2) + ["D"] * (n % 2)
    )
    with store.session() as session:
        session.add_all(prompts)
        session.add_all(
            Generation(
                run_id=run,
                prompt_id=f"p{number}",
                author=author,
                chunk=0,
                text=text,
                n_tokens=3,
                finished=finished,
                answer_start=None if "<think>" in text and CLOSE not in text else len(text) - len(answer),
            )
            for (number, author), (text, finished) in replies.items()
            for answer in (text.rpartition(CLOSE)[2],)
        )
    return store, run
