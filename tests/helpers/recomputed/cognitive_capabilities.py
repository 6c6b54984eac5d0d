"""Recomputes the answers of cognitive_capabilities by carrying out what each prompt describes."""

from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise

Answer = str | int | float | Fraction | frozenset[str] | tuple[str, ...]

NOT_COMPUTED: frozenset[str] = frozenset()


def three_words_kept() -> tuple[str, ...]:
    return tuple(word.strip() for word in ["sun", " moon", " star"])


def red_things() -> int:
    tray = [("red", "cup"), ("blue", "plate"), ("red", "spoon"), ("green", "bowl"), ("red", "fork")]
    return sum(colour == "red" for colour, _thing in tray)


def largest_of_three() -> int:
    return max(4, 9, 2)


def animal_among_three() -> str:
    kinds = {"stone": "mineral", "cat": "animal", "spoon": "tool"}
    (word,) = [word for word, kind in kinds.items() if kind == "animal"]
    return word


def coin_under_cups() -> str:
    coin = "left"
    for one, two in [("left", "middle"), ("middle", "right")]:
        coin = two if coin == one else one if coin == two else coin
    return coin


def replaced_number() -> int:
    mind = 5
    mind += 4
    mind = 2
    mind += 6
    return mind


def twice_in_a_row() -> str:
    words = ["sun", "key", "sun", "map", "key", "map", "map"]
    (double,) = {one for one, two in pairwise(words) if one == two}
    return double


def block_walk() -> int:
    steps = {"east": (1, 0), "north": (0, 1), "west": (-1, 0)}
    east = north = 0
    for blocks, direction in [(3, "east"), (2, "north"), (3, "west")]:
        east += blocks * steps[direction][0]
        north += blocks * steps[direction][1]
    return abs(east) + abs(north)


def big_or_small() -> int:
    said = ["big" if number > 5 and number % 2 == 0 else "small" for number in (8, 7, 4, 6)]
    return said.count("big")


def across_the_table() -> str:
    """Ines sits south and faces north; her friend sits north and faces south."""
    left_of_facing = {"north": "west", "south": "east"}
    teapot = left_of_facing["north"]
    return "left" if teapot == left_of_facing["south"] else "right"


def ink_colours() -> tuple[str, ...]:
    printed = [("red", "green"), ("blue", "red"), ("green", "blue")]
    return tuple(ink for _word, ink in printed)


def plate_pile() -> str:
    pile = ["white", "grey", "gold", "green"]
    for _plate in range(2):
        pile.pop()
    pile.append("black")
    return pile[-2]


def turned_letter() -> str:
    """A letter is the side of its stem and the height of its bowl; half a turn swaps both."""
    # The stem of b and d rises above the bowl, so the bowl is low; that of p and q hangs below it.
    letters = {("left", "low"): "b", ("right", "low"): "d", ("left", "high"): "p", ("right", "high"): "q"}
    opposite = {"left": "right", "right": "left", "low": "high", "high": "low"}
    stem, bowl = next(shape for shape, letter in letters.items() if letter == "b")
    return letters[(opposite[stem], opposite[bowl])]


def pierced_napkin() -> int:
    layers = [1]
    for _fold in range(3):
        layers += layers
    return sum(layers)


def flute_in_trunk() -> str:
    """Each person's picture of the flute, and Eva's picture of what Tom believes."""
    tom = flute = "trunk"
    eva_about_tom = tom
    flute = "wardrobe"
    tom_watches, eva_knows_it = True, False
    if tom_watches:
        tom = flute
        eva_about_tom = tom if eva_knows_it else eva_about_tom
    assert tom == "wardrobe"
    return eva_about_tom


def rolling_die() -> int:
    """Rolling away brings the near side to the top and the bottom to the near side."""
    top, near = 1, 2
    for _edge in range(3):
        top, near = near, 7 - top
    return top


ANSWERS: dict[str, Callable[[], Answer]] = {
    "cognitive_capabilities/three-words-kept": three_words_kept,
    "cognitive_capabilities/red-things": red_things,
    "cognitive_capabilities/largest-of-three": largest_of_three,
    "cognitive_capabilities/animal-among-three": animal_among_three,
    "cognitive_capabilities/coin-under-cups": coin_under_cups,
    "cognitive_capabilities/replaced-number": replaced_number,
    "cognitive_capabilities/twice-in-a-row": twice_in_a_row,
    "cognitive_capabilities/block-walk": block_walk,
    "cognitive_capabilities/big-or-small": big_or_small,
    "cognitive_capabilities/across-the-table": across_the_table,
    "cognitive_capabilities/ink-colours": ink_colours,
    "cognitive_capabilities/plate-pile": plate_pile,
    "cognitive_capabilities/turned-letter": turned_letter,
    "cognitive_capabilities/pierced-napkin": pierced_napkin,
    "cognitive_capabilities/flute-in-trunk": flute_in_trunk,
    "cognitive_capabilities/rolling-die": rolling_die,
}
