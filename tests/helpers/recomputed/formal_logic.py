"""Recomputes the answers of formal_logic by truth tables and by checking all models.

Statements about letters are checked on every row of their truth table. Statements about kinds of things
(every, some, no) are checked in every world: a world is a non-empty choice of the kinds of things that
occur in it, and since these statements only ask which kinds occur, no other worlds need to be checked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import combinations, product

Answer = str | int | float | Fraction | frozenset[str] | tuple[str, ...]
Thing = frozenset[str]
World = tuple[Thing, ...]
Row = tuple[bool, ...]
Statement = Callable[..., bool]

# A proof is asked for, which has no answer to compare: odd-plus-odd. All others are computed.
NOT_COMPUTED: frozenset[str] = frozenset()


def table(letters: int) -> list[Row]:
    """The rows of a truth table."""
    return list(product((False, True), repeat=letters))


def implies(one: bool, other: bool) -> bool:
    return not one or other


def rows_that_satisfy(statement: Statement, letters: int) -> list[Row]:
    return [row for row in table(letters) if statement(*row)]


def settled(premises: Statement, conclusion: Statement, letters: int) -> str:
    """Whether the premises make the conclusion true or false, or leave it open."""
    values = {conclusion(*row) for row in rows_that_satisfy(premises, letters)}
    return verdict(values, "true", "false")


def entails(premises: Statement, conclusion: Statement, letters: int) -> bool:
    return settled(premises, conclusion, letters) == "true"


def equal_option(said: Statement, options: dict[str, Statement], letters: int) -> str:
    """The one option with the same truth table as the given statement."""
    same = rows_that_satisfy(said, letters)
    (name,) = [name for name, option in options.items() if rows_that_satisfy(option, letters) == same]
    return name


def worlds(*predicates: str) -> Iterator[World]:
    """Every non-empty choice of kinds of things; a kind is the set of predicates that are true of it."""
    kinds = [
        frozenset(chosen) for size in range(len(predicates) + 1) for chosen in combinations(predicates, size)
    ]
    for size in range(1, len(kinds) + 1):
        yield from combinations(kinds, size)


def every(world: World, one: str, other: str) -> bool:
    return all(other in thing for thing in world if one in thing)


def some(world: World, one: str, other: str) -> bool:
    return any(one in thing and other in thing for thing in world)


def verdict(answers: set[bool], yes: str = "yes", no: str = "no", open_: str = "unknown") -> str:
    """The word for a question whose answer is in each possible case one of `answers`."""
    assert answers, "the premises contradict each other"
    return open_ if len(answers) == 2 else (yes if answers == {True} else no)


def yes_or_no(holds: bool) -> str:
    return "yes" if holds else "no"


def tulip_syllogism() -> str:
    cases = {
        "plant" in it
        for world in worlds("tulip", "plant")
        if every(world, "tulip", "plant")
        for it in world
        if "tulip" in it
    }
    return yes_or_no(cases == {True})


def varnished_violin() -> str:
    cases = {
        "violin" in it
        for world in worlds("violin", "varnished")
        if every(world, "violin", "varnished")
        for it in world
        if "varnished" in it
    }
    return yes_or_no(cases == {True})


def alarm_light() -> str:
    value = settled(lambda on, glows: implies(on, glows) and not glows, lambda on, glows: on, 2)
    return {"true": "on", "false": "off"}[value]


def closed_pass() -> str:
    follows = entails(lambda snows, closed: implies(snows, closed) and closed, lambda snows, closed: snows, 2)
    return "valid" if follows else "invalid"


def flag_and_shop() -> str:
    (row,) = rows_that_satisfy(lambda up, shop_is_open: implies(up, shop_is_open) and up, 2)
    return "open" if row[1] else "closed"


def not_both() -> str:
    options: dict[str, Statement] = {
        "A": lambda p, q: not p and not q,
        "B": lambda p, q: not p or not q,
    }
    return equal_option(lambda p, q: not (p and q), options, 2)


def implication_chain() -> str:
    return settled(lambda p, q, r: implies(p, q) and implies(q, r) and p, lambda p, q, r: r, 3)


def pilots_maps() -> str:
    cases = {
        some(world, "gardener", "owner")
        for world in worlds("gardener", "pilot", "owner")
        if some(world, "gardener", "pilot") and every(world, "pilot", "owner")
    }
    return yes_or_no(cases == {True})


def feathered_polly() -> str:
    return verdict(
        {
            "reptile" in polly
            for world in worlds("reptile", "feathers")
            if not some(world, "reptile", "feathers")
            for polly in world
            if "feathers" in polly
        }
    )


def lit_sign() -> str:
    options: dict[str, Statement] = {
        "A": lambda is_open, lit: implies(not lit, not is_open),
        "B": lambda is_open, lit: implies(lit, is_open),
    }
    return equal_option(implies, options, 2)


def unlocked_window() -> str:
    houses = [locked for locked in product((False, True), repeat=6) if locked.count(False) == 1]
    cases = {not all(locked) for locked in houses}
    return verdict(cases)


def exactly_one() -> str:
    return settled(lambda x, y, z: x != y and y == z and z, lambda x, y, z: x, 3)


def club_admirers() -> str:
    """One club in which everyone admires somebody and nobody is admired by all refutes the claim."""
    people = range(3)
    pairs = list(product(people, repeat=2))
    for marks in product((False, True), repeat=len(pairs)):
        admires = dict(zip(pairs, marks, strict=True))
        everyone_admires = all(any(admires[one, other] for other in people) for one in people)
        one_for_all = any(all(admires[one, other] for one in people) for other in people)
        if everyone_admires and not one_for_all:
            return "no"
    return "yes"


def dragon_valley() -> str:
    cases = {
        every(world, "dragon", "green")
        for world in worlds("dragon", "green")
        if not any("dragon" in thing for thing in world)
    }
    return verdict(cases, "true", "false")


def idle_pump() -> str:
    value = settled(
        lambda runs, shut, full: runs == shut and shut == full and not runs, lambda runs, shut, full: full, 3
    )
    return {"true": "yes", "false": "no"}[value]


def button_and_fan() -> str:
    (row,) = rows_that_satisfy(lambda pressed, off: implies(pressed, off) and pressed, 2)
    return "off" if row[1] else "on"


def wooden_chairs() -> str:
    cases = {
        "wood" in it
        for world in worlds("chair", "wood")
        if every(world, "chair", "wood")
        for it in world
        if "chair" in it
    }
    return "wood" if cases == {True} else "metal"


def webster_legs() -> int:
    cases = {
        "eight-legged" in webster
        for world in worlds("spider", "eight-legged")
        if every(world, "spider", "eight-legged")
        for webster in world
        if "spider" in webster
    }
    (eight,) = cases
    return 8 if eight else 0


def joint_statement() -> str:
    return settled(lambda p, q: p and not q, lambda p, q: p and q, 2)


def sweet_cakes() -> str:
    cases = {
        "sweet" in it
        for world in worlds("cake", "sweet")
        if every(world, "cake", "sweet")
        for it in world
        if "cake" in it
    }
    return "sweet" if cases == {True} else "sour"


def four_letter_table() -> int:
    return len(table(len("PQRS")))


def cracked_cups() -> str:
    """Things that are not cups do not matter here, so a world contains only cups."""
    cases = {
        any("cracked" in cup and "blue" in cup for cup in world)
        for world in worlds("blue", "cracked")
        if some(world, "blue", "cracked")
    }
    return yes_or_no(cases == {True})


def ribbon_boxes() -> str:
    boxes = {"1": {"candles"}, "2": {"ribbon", "soap"}, "3": {"ribbon", "candles"}}
    (breach,) = [name for name, has in boxes.items() if "ribbon" in has and "candles" not in has]
    return breach


def who_comes() -> frozenset[str]:
    names = ("Ada", "Ben", "Cleo")
    (row,) = rows_that_satisfy(
        lambda ada, ben, cleo: implies(ada, ben) and implies(ben, not cleo) and ada, len(names)
    )
    return frozenset(name for name, comes in zip(names, row, strict=True) if comes)


def hot_oven() -> str:
    follows = entails(lambda hot, locked: implies(hot, locked) and not hot, lambda hot, locked: not locked, 2)
    return yes_or_no(follows)


def closed_kiosk() -> str:
    follows = entails(
        lambda opens, holiday: implies(not holiday, opens) and not opens, lambda opens, holiday: holiday, 2
    )
    return yes_or_no(follows)


def bracket_rows() -> int:
    return len(rows_that_satisfy(lambda p, q, r: (p and q) or r, 3))


def negated_expression() -> str:
    """Of all ways to join p and q, each negated or not, with `or`, the one with the same truth table."""
    options: dict[str, Statement] = {}
    for negate_p, negate_q in table(2):
        text = f"{'not p' if negate_p else 'p'} or {'not q' if negate_q else 'q'}"
        options[text] = lambda p, q, np=negate_p, nq=negate_q: p != np or q != nq
    return equal_option(lambda p, q: not (p and q), options, 2)


def three_labels() -> str:
    """Each label is true exactly when what it says is so."""
    (row,) = rows_that_satisfy(
        lambda k, l_, m: k == (not l_) and l_ == (not m) and m == (not k and not l_), 3
    )
    (true_one,) = [name for name, value in zip("KLM", row, strict=True) if value]
    return true_one


def bass_astronauts() -> str:
    cases = {
        some(world, "astronaut", "bass")
        for world in worlds("astronaut", "bass")
        if every(world, "astronaut", "bass")
    }
    return yes_or_no(cases == {True})


def two_implications() -> int:
    return len(rows_that_satisfy(lambda p, q, r: implies(p, q) and implies(q, r), 3))


ANSWERS: dict[str, Callable[[], Answer]] = {
    "formal_logic/tulip-syllogism": tulip_syllogism,
    "formal_logic/varnished-violin": varnished_violin,
    "formal_logic/alarm-light": alarm_light,
    "formal_logic/closed-pass": closed_pass,
    "formal_logic/flag-and-shop": flag_and_shop,
    "formal_logic/not-both": not_both,
    "formal_logic/implication-chain": implication_chain,
    "formal_logic/pilots-maps": pilots_maps,
    "formal_logic/feathered-polly": feathered_polly,
    "formal_logic/lit-sign": lit_sign,
    "formal_logic/unlocked-window": unlocked_window,
    "formal_logic/exactly-one": exactly_one,
    "formal_logic/club-admirers": club_admirers,
    "formal_logic/dragon-valley": dragon_valley,
    "formal_logic/idle-pump": idle_pump,
    "formal_logic/button-and-fan": button_and_fan,
    "formal_logic/wooden-chairs": wooden_chairs,
    "formal_logic/webster-legs": webster_legs,
    "formal_logic/joint-statement": joint_statement,
    "formal_logic/sweet-cakes": sweet_cakes,
    "formal_logic/four-letter-table": four_letter_table,
    "formal_logic/cracked-cups": cracked_cups,
    "formal_logic/ribbon-boxes": ribbon_boxes,
    "formal_logic/who-comes": who_comes,
    "formal_logic/hot-oven": hot_oven,
    "formal_logic/closed-kiosk": closed_kiosk,
    "formal_logic/bracket-rows": bracket_rows,
    "formal_logic/negated-expression": negated_expression,
    "formal_logic/three-labels": three_labels,
    "formal_logic/bass-astronauts": bass_astronauts,
    "formal_logic/two-implications": two_implications,
}
