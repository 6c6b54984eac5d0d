"""Recomputes the answers of mathematical_reasoning with exact fractions and brute force."""

from collections.abc import Callable
from fractions import Fraction
from itertools import permutations

Answer = str | int | float | Fraction | frozenset[str] | tuple[str, ...]

NOT_COMPUTED: frozenset[str] = frozenset()


def half_of_ten() -> int:
    (half,) = [number for number in range(11) if number + number == 10]
    return half


def six_and_six() -> int:
    return sum([6, 6])


def sides_of_a_square() -> int:
    corners = [(0, 0), (1, 0), (1, 1), (0, 1)]
    sides = set(zip(corners, [*corners[1:], corners[0]], strict=True))
    return len(sides)


def ten_tens() -> int:
    return sum(10 for _ten in range(10))


def half_plus_third() -> Fraction:
    return Fraction(1, 2) + Fraction(1, 3)


def larger_fraction() -> str:
    fractions = {"sevenths": Fraction(3, 7), "fifths": Fraction(3, 5)}
    return max(fractions, key=lambda name: fractions[name])


def third_angle() -> int:
    return 180 - 50 - 60


def linear_unknown() -> Fraction:
    """The root of left side minus right side, from the line through two of its points."""

    def difference(x: int) -> int:
        return 3 * x + 4 - 19

    return Fraction(-difference(0), difference(1) - difference(0))


def tripled_square() -> int:
    """The same for every side."""
    (factor,) = {Fraction((3 * side) ** 2, side**2) for side in range(1, 50)}
    return int(factor)


def letters_of_noon() -> int:
    return len(set(permutations("NOON")))


def primes_in_between() -> int:
    return sum(all(number % divisor for divisor in range(2, number)) for number in range(21, 40))


def flipped_inequality() -> str:
    """Compares the two options with the inequality on a grid of fractions around the border."""
    options: dict[str, Callable[[Fraction], bool]] = {"A": lambda x: x > -3, "B": lambda x: x < -3}
    grid = [Fraction(step, 4) for step in range(-80, 81)]
    (right,) = [name for name, holds in options.items() if all((-2 * x > 6) == holds(x) for x in grid)]
    return right


def two_compositions() -> int:
    def f(x: int) -> int:
        return x + 3

    def g(x: int) -> int:
        return x**2

    return f(g(2)) - g(f(2))


def six_divisors() -> int:
    def divisors(number: int) -> int:
        return sum(number % divisor == 0 for divisor in range(1, number + 1))

    return next(number for number in range(1, 1000) if divisors(number) == 6)


def sum_up_to_n() -> int:
    (n,) = [n for n in range(1, 211) if sum(range(1, n + 1)) == 210]
    return n


def binomial_coefficient() -> int:
    """Multiplies out the four factors, lowest power first."""
    powers = [1]
    for _bracket in range(4):
        powers = [low + 2 * high for low, high in zip([*powers, 0], [0, *powers], strict=True)]
    return powers[2]


ANSWERS: dict[str, Callable[[], Answer]] = {
    "mathematical_reasoning/half-of-ten": half_of_ten,
    "mathematical_reasoning/six-and-six": six_and_six,
    "mathematical_reasoning/sides-of-a-square": sides_of_a_square,
    "mathematical_reasoning/ten-tens": ten_tens,
    "mathematical_reasoning/half-plus-third": half_plus_third,
    "mathematical_reasoning/larger-fraction": larger_fraction,
    "mathematical_reasoning/third-angle": third_angle,
    "mathematical_reasoning/linear-unknown": linear_unknown,
    "mathematical_reasoning/tripled-square": tripled_square,
    "mathematical_reasoning/letters-of-noon": letters_of_noon,
    "mathematical_reasoning/primes-in-between": primes_in_between,
    "mathematical_reasoning/flipped-inequality": flipped_inequality,
    "mathematical_reasoning/two-compositions": two_compositions,
    "mathematical_reasoning/six-divisors": six_divisors,
    "mathematical_reasoning/sum-up-to-n": sum_up_to_n,
    "mathematical_reasoning/binomial-coefficient": binomial_coefficient,
}
