"""The families of generated prompts: which generators of reasoning_gym are used, for what, and how they are graded.

A generator is used if a seed gives the same prompts everywhere and the prompts are short and have one right answer that
a grader can compare exactly. Prompts that it is known to get wrong are left out one by one (`doubt`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from fi_store.prompts.generated import judges
from fi_store.prompts.generated.judges import EXACT, Item, Judge, choice, in_order, number

Settings = Mapping[str, Any]


@dataclass(frozen=True)
class Family:
    """One generator. `levels` are its settings from easy to hard; prompts cycle through them.

    `drop` lists phrases to remove from its texts: demands on the form of the answer that no grader needs. `asks_form`
    keeps such a demand, because the grader reads that form. `variant` names the metadata field that identifies an
    item's template, `drawn` the attribute of the generator that lists it by item. `doubt` says why an item is left out.
    """

    category: str
    skill: str
    judge: Judge
    levels: tuple[Settings, ...] = ({},)
    drop: tuple[str, ...] = ()
    asks_form: bool = False
    variant: str | None = None
    drawn: str | None = None
    doubt: Callable[[Item], str | None] | None = None

    def difficulty(self, level: int) -> int:
        """1 for the easiest settings; 3 for a generator with only one set of them."""
        return level + 1 if len(self.levels) > 1 else 3


def ladder(**steps: tuple[Any, ...]) -> tuple[Settings, ...]:
    """One set of settings per level, with the level's value from each tuple."""
    return tuple(dict(zip(steps, values, strict=True)) for values in zip(*steps.values(), strict=True))


def between(
    name: str, low: tuple[int, ...], high: tuple[int, ...] | None = None
) -> dict[str, tuple[int, ...]]:
    """Steps for a range that a generator takes as `min_<name>` and `max_<name>`."""
    return {f"min_{name}": low, f"max_{name}": high or low}


FAMILIES: dict[str, Family] = {
    "syllogism": Family("formal_logic", "syllogism", choice("yes", "no"), doubt=judges.syllogism_doubt),
    "knights_knaves": Family(
        "formal_logic", "truth-tellers and liars", Judge("set", judges.islanders), ladder(n_people=(2, 3, 4, 5)),
        asks_form=True,
    ),
    "self_reference": Family(
        "constraint_satisfaction", "self-referring statements", number(), ladder(difficulty=(1, 3, 5, 7, 10)),
    ),
    "course_schedule": Family(
        "constraint_satisfaction", "prerequisites without a circle", choice("true", "false"),
        ladder(**between("num_courses", (5, 7, 9, 12, 16), (6, 8, 10, 14, 20))),
    ),
    "acre": Family(
        "causal_reasoning", "which objects switch a detector", choice("on", "off", "undetermined"),
        drop=("Do not use quotation marks in your answer.\n\n",),
    ),
    "basic_arithmetic": Family(  # without division, which the generator rounds
        "mathematical_reasoning", "mixed arithmetic", number(),
        ladder(
            **between("terms", (2, 2, 3, 4, 5)), **between("digits", (1, 2, 2, 2, 3)), operators=(("+", "-", "*"),) * 5,
        ),
    ),
    "chain_sum": Family(
        "mathematical_reasoning", "sums", number(),
        ladder(**between("terms", (2, 2, 3, 4, 5)), **between("digits", (1, 2, 2, 3, 3))),
    ),
    "products": Family(
        "mathematical_reasoning", "products", number(),
        ladder(**between("terms", (2, 2, 2, 2, 3)), **between("digits", (1, 1, 2, 3, 2), (1, 2, 2, 3, 2))),
        drop=(" Give only the result as your final answer.",),
    ),
    "decimal_chain_sum": Family(
        "mathematical_reasoning", "decimal sums", number(),
        ladder(
            **between("terms", (2, 2, 3, 3, 4)), **between("digits", (1, 1, 2, 2, 3)),
            **between("decimal_places", (1, 1, 1, 2, 2), (1, 2, 2, 2, 3)),
        ),
    ),
    "gcd": Family(
        "mathematical_reasoning", "greatest common divisor", number(),
        ladder(**between("numbers", (2, 2, 2, 2, 3)), **between("value", (2, 4, 10, 20, 20), (20, 50, 100, 500, 1000))),
        drop=(" Give only the GCD as your final answer.",),
    ),
    "lcm": Family(
        "mathematical_reasoning", "least common multiple", number(),
        ladder(**between("numbers", (2, 2, 2, 2, 3)), **between("value", (2, 3, 4, 5, 5), (9, 15, 25, 50, 60))),
    ),
    "fraction_simplification": Family(
        "mathematical_reasoning", "simplifying fractions", EXACT,
        ladder(
            **between("value", (1, 1, 2, 5, 10), (9, 20, 50, 100, 500)),
            **between("factor", (2,) * 5, (4, 6, 12, 20, 50)), styles=(("plain",),) * 5,
        ),
        drop=(" Give only the simplified fraction as your final answer.",), doubt=judges.fraction_doubt,
    ),
    "base_conversion": Family(
        "mathematical_reasoning", "number bases", EXACT,
        ladder(
            **between("base", (2,) * 5, (4, 8, 10, 16, 16)),
            **between("value", (2, 5, 10, 20, 50), (16, 32, 64, 256, 1000)),
        ),
    ),
    "count_primes": Family(
        "mathematical_reasoning", "counting primes", number(), ladder(max_n=(20, 50, 100, 200, 500)),
    ),
    "simple_equations": Family(
        "mathematical_reasoning", "linear equations", number(),
        ladder(**between("terms", (2, 2, 2, 3, 4)), max_value=(10, 20, 50, 100, 100)),
    ),
    "simple_geometry": Family(
        "mathematical_reasoning", "angles of polygons", number(), ladder(**between("sides", (3, 4, 5, 6, 7))),
        drop=("Return only the angle as your answer.Do not give the units in your answer.",),
        doubt=judges.polygon_doubt,
    ),
    "coin_flip": Family(
        "probabilistic_reasoning", "coin tosses", number(0.0001, percent=True),
        ladder(**between("trials", (3, 4, 6, 8, 10), (3, 5, 7, 9, 12))),
    ),
    "dice": Family(
        "probabilistic_reasoning", "sums of dice", number(0.0001, percent=True),
        ladder(num_dice=(1, 2, 2, 3, 3), max_dice_size=(12, 6, 10, 6, 10)),
    ),
    "maze": Family(
        "multi_step_planning", "shortest ways", number(),
        ladder(
            **between("dist", (3, 4, 5, 7, 9), (4, 5, 7, 9, 12)),
            **between("grid_size", (5, 5, 6, 7, 8), (5, 6, 7, 8, 10)),
        ),
        drop=("\nGive only the number of steps as your final answer, no other text or formatting.",),
    ),
    "path_star": Family(
        "multi_step_planning", "ways through a graph", in_order(judges.path_nodes, " "),
        ladder(degree=(2, 2, 2, 3, 3), node_range=(40, 60, 100, 100, 200), **between("path_length", (2, 3, 4, 4, 5))),
        drop=(
            "Respond with only the sequence of node labels in the path, including the start and goal nodes.\n",
            "Separate node labels with a single space.\n",
        ),
    ),
    "binary_alternation": Family(
        "multi_step_planning", "fewest swaps", number(),
        ladder(**between("n", (4, 6, 8, 12, 18), (5, 7, 11, 17, 24))),
    ),
    "rotten_oranges": Family(
        "multi_step_planning", "spreading over a grid", number(),
        ladder(**between("n", (3, 4, 5, 6, 8), (4, 5, 6, 7, 9))),
    ),
    "arc_1d": Family(
        "conceptual_abstraction", "the rule of a row", Judge("regex", judges.row),
        ladder(**between("size", (10, 12, 14, 18, 24))), variant="task_name",
        drop=(
            " Describe how you derived the rule and your overall reasoning process in detail before you submit your"
            " answer. Your final answer should be just the test output grid itself.",
        ),
    ),
    "gsm_symbolic": Family(
        "step_by_step_reasoning", "word problems", number(), drawn="task_indices",
        drop=(" Give the result as your final answer. Do not include units.",),
    ),
    "calendar_arithmetic": Family(
        "step_by_step_reasoning", "dates and weekdays", Judge("choice or number", judges.date), variant="task",
        drop=(" Reply with just the weekday name.", " Respond with just the number."),
        levels=(
            {"tasks": ["is_leap_year"]},
            {"tasks": ["weekday_offset"], "offset_upper_bound": 14},
            {"tasks": ["weekday_of_date_from_first_date", "count_days"], "offset_upper_bound": 40},
            {"tasks": ["recurring_event_day", "count_business_days"], "offset_upper_bound": 60},
            {"tasks": ["weekday_of_date"]},
        ),
    ),
    "aiw": Family(
        "adversarial_reasoning", "counting oneself in", number(), ladder(max_entities=(4, 6, 8, 10, 12)),
        variant="task_type",
    ),
    "leg_counting": Family(
        "knowledge_integration", "legs of animals", number(),
        ladder(**between("animals", (1, 2, 3, 4, 6)), max_instances=(4, 6, 9, 12, 15)), doubt=judges.legs_doubt,
    ),
    "needle_haystack": Family(
        "context_awareness", "finding a fact in a text", EXACT, ladder(**between("num_statements", (3, 5, 8, 15, 30))),
        drop=(" Reply only with a name.",),
    ),
    "letter_counting": Family(
        "cognitive_capabilities", "counting letters", number(), ladder(**between("words", (2, 4, 6, 9, 13))),
        doubt=judges.letter_doubt,
    ),
    "spell_backward": Family(
        "cognitive_capabilities", "spelling backward", EXACT, ladder(**between("word_len", (3, 4, 5, 7, 9))),
    ),
    "word_sorting": Family(
        "cognitive_capabilities", "sorting words", in_order(lambda item: item["metadata"]["original_words"], ", "),
        ladder(**between("words", (3, 4, 5, 7, 9))),
    ),
    "word_sequence_reversal": Family(
        "cognitive_capabilities", "reversing a list", in_order(lambda item: item["metadata"]["words"], ", "),
        ladder(**between("words", (3, 4, 5, 6, 8))),
    ),
    "color_cube_rotation": Family(
        "cognitive_capabilities", "turning a cube", Judge("choice", judges.color),
        ladder(**between("rotations", (1, 2, 3, 4, 5))),
        drop=("\nProvide only the color as your final answer.",),
    ),
    "caesar_cipher": Family(
        "cognitive_capabilities", "shifting letters", EXACT,
        ladder(**between("words", (3, 3, 4, 5, 7)), **between("rotation", (1, 2, 3, 5, 8), (1, 3, 5, 13, 25))),
        drop=(" Provide only the decrypted text as your final answer.",), doubt=judges.article_doubt,
    ),
    "family_relationships": Family(
        "cognitive_capabilities", "family relations", choice(*judges.RELATIONS),
        ladder(**between("family_size", (3, 4, 5, 6, 7), (3, 4, 5, 6, 8))), doubt=judges.relation_doubt,
        drop=(
            " Answer with a single word.", " Provide the relationship in one word.",
            " Respond only with the word that describes their relationship.",
        ),
    ),
}  # fmt: skip

REFUSED = {
    "has no reference answer": (
        "boxnet", "graph_color", "propositional_logic", "rubiks_cube", "rush_hour",
    ),
    "has several right answers but gives only one": (
        "countdown", "cryptarithm", "jugs", "knight_swap", "letter_jumble", "number_sequence", "palindrome_generation",
        "puzzle24", "quantum_lock", "sentence_reordering", "shortest_path", "sokoban", "tsumego", "word_ladder",
    ),
    "has answers of several lines or parts that no grader compares exactly": (
        "arc_agi", "binary_matrix", "complex_arithmetic", "futoshiki", "game_of_life", "group_anagrams",
        "intermediate_integration", "kakurasu", "manipulate_matrix", "mini_sudoku", "modulo_grid", "n_queens",
        "palindrome_partitioning", "polynomial_equations", "polynomial_multiplication", "pool_matrix", "rearc",
        "rotate_matrix", "simple_integration", "sudoku", "survo", "tower_of_hanoi",
    ),
    "gives different prompts in every process, whatever the seed": (
        "isomorphic_strings", "list_functions", "ransom_note",
    ),
    "has a scorer that accepts any answer": ("game_of_life_halting",),
    "runs code that came with its data": ("codeio",),
    "needs a package that has to be compiled": ("zebra_puzzles",),
}  # fmt: skip
"""Generators that are not used, by reason; those that are not listed were simply not needed."""
