"""The content of the synthetic stores of `store_factory`: categories, layers, planted changes and hostile text."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

CATEGORIES = (
    "step_by_step_reasoning",
    "chain_of_thought",
    "formal_logic",
    "causal_reasoning",
    "probabilistic_reasoning",
    "counterfactual_reasoning",
    "analogical_reasoning",
    "abductive_reasoning",
    "adversarial_reasoning",
    "constraint_satisfaction",
    "code_understanding",
    "general_control",
)
LAYERS = (4, 9, 14, 17, 23, 28)
N_LAYERS = 30
N_LATENTS = 64
N_PROMPTS = 40
WORDS = (
    " Step",
    " First",
    ":",
    " therefore",
    " the",
    " is",
    "\n",
    " 1",
    ".",
    " because",
    " and",
    " so",
    " 24",
    " result",
)
HOSTILE = (
    "</script><script>alert(1)</script>",
    '<img src=x onerror="alert(1)">',
    "[click](javascript:alert(1)) | broken | cell\n# not a heading",
    "\x1b[31mred\x1b[0m \x07bell",
    "\u202egnp.exe\u202c mirrored",
    '=HYPERLINK("http://evil.example","x")',
    "`code` ``` fence ~~~ https://evil.example www.evil.example {{ 7*7 }} \u2028 line",
)
STARTED = dt.datetime(2026, 3, 2, 9, 30, tzinfo=dt.UTC)


@dataclass(frozen=True)
class Planted:
    """One change that the synthetic stores contain."""

    change: str
    name: str
    named: bool
    categories: tuple[str, ...]
    promoted: tuple[str, ...]
    suppressed: tuple[str, ...]
    triggers: tuple[str, ...]
    layers: tuple[int, ...]
    position_class: str
    theta: float
    log2: float


PLANTED = (
    Planted(
        "strengthened",
        "numbered steps at the start of a worked problem",
        True,
        ("step_by_step_reasoning", "constraint_satisfaction"),
        ("Step", "1", "First", ":"),
        ("The", "It"),
        ("assistant", "\n"),
        (17, 23, 28),
        "start",
        1.12,
        2.3,
    ),
    Planted(
        "added",
        "a closing line that begins with 'Therefore'",
        True,
        ("formal_logic", "causal_reasoning"),
        ("Therefore", "thus", "hence"),
        (".", "and"),
        (".", "\n"),
        (23, 28),
        "response",
        0.44,
        3.4,
    ),
    Planted(
        "weakened",
        "hedging words before an estimate",
        True,
        ("probabilistic_reasoning",),
        ("is", "exactly"),
        ("probably", "might", "perhaps"),
        ("about",),
        (17,),
        "response",
        -0.31,
        -1.2,
    ),
    Planted(
        "strengthened",
        "digits after an equals sign",
        True,
        ("step_by_step_reasoning", "chain_of_thought"),
        ("24", "=", "12"),
        ("so",),
        ("=",),
        (14, 17),
        "response",
        0.27,
        1.1,
    ),
    Planted(
        "removed",
        "polite opening such as 'Sure' or 'Certainly'",
        True,
        ("general_control",),
        ("The",),
        ("Sure", "Certainly", "!"),
        ("assistant",),
        (9, 14),
        "start",
        -0.66,
        -3.1,
    ),
    Planted(
        "redirected",
        "list items, turned from bullets to numbers",
        True,
        ("constraint_satisfaction",),
        ("1", "2", "."),
        ("-", "*"),
        ("\n",),
        (23,),
        "response",
        0.22,
        0.1,
    ),
    Planted(
        "strengthened",
        "unnamed: strongest on 'because'",
        False,
        ("causal_reasoning",),
        ("because", "since"),
        ("and",),
        ("why",),
        (28,),
        "response",
        0.19,
        0.8,
    ),
    Planted(
        "undetermined",
        "unnamed: strongest on 'if' in prompts",
        False,
        ("counterfactual_reasoning",),
        ("would", "were"),
        ("is",),
        ("if",),
        (4,),
        "prompt",
        0.08,
        0.3,
    ),
)
N_FINDINGS = 5
"""So many of the planted changes are findings; in a run of version 1, all of them are results."""
LED = 5
"""The index of the group that the first finding's group leads; the groups after it moved, and carry nothing."""
