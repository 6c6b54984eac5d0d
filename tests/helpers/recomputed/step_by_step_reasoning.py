"""Recomputes the answers of step_by_step_reasoning from the numbers in its prompts."""

from collections.abc import Callable, Iterable
from fractions import Fraction
from itertools import count

Answer = str | int | float | Fraction | frozenset[str] | tuple[str, ...]

NOT_COMPUTED: frozenset[str] = frozenset()


def only(values: Iterable[int]) -> int:
    """The single value; an error when there are none or several."""
    (value,) = set(values)
    return value


def bakery_trays() -> int:
    trays, rolls, sold = 4, 6, 9
    return trays * rolls - sold


def gift_of_apples() -> int:
    had, given = 2, 3
    return had + given


def cup_prices() -> int:
    cups, price = 2, 3
    return cups * price


def two_taken_from_seven() -> int:
    number = 7
    number -= 2
    return number


def eaten_cakes() -> int:
    plate = ["cake"] * 4
    del plate[:2]
    return len(plate)


def candle_boxes() -> int:
    boxes, candles, lit = 3, 10, 2
    return boxes * candles - lit


def four_added_to_three() -> int:
    number = 3
    number += 4
    return number


def paint_ratio() -> int:
    """Blue is to 12 cups of yellow as 2 is to 3."""
    return only(blue for blue in range(101) if Fraction(blue, 12) == Fraction(2, 3))


def pages_left() -> int:
    monday, pages = 18, 100
    return pages - monday - 2 * monday


def egg_cartons() -> int:
    return 50 % 12


def garden_edging() -> int:
    sides = (9, 5, 9, 5)
    return sum(sides)


def film_end() -> str:
    hours, minutes = divmod(19 * 60 + 50 + 95, 60)
    return f"{hours % 24:02}:{minutes:02}"


def ferry_trips() -> int:
    return next(trips for trips in count() if trips * 6 >= 20)


def parcel_weights() -> tuple[str, ...]:
    grams = {"P": Fraction(2) * 1000, "Q": Fraction(900), "R": Fraction("1.2") * 1000}
    assert len(set(grams.values())) == len(grams)
    return tuple(sorted(grams, key=lambda parcel: grams[parcel]))


def fence_posts() -> int:
    return len(range(0, 24 + 1, 3))


def train_then_taxi() -> int:
    home = 14 * 60 + 35 + 50 + 20
    return home - 15 * 60


def jacket_discount() -> Fraction:
    return Fraction(80) * (1 - Fraction(25, 100)) - 10


def ribbon_cuts() -> int:
    """Every cut turns one piece into two."""
    pieces, seconds = 1, 0
    while pieces < 8:
        pieces, seconds = pieces + 1, seconds + 5
    return seconds


def phone_bill() -> int:
    return only(gigabytes for gigabytes in range(101) if 10 + 2 * gigabytes == 26)


def lift_floors() -> int:
    steps = [(floor, floor + 1) for floor in range(2, 9)]
    return 4 * len(steps)


def van_fuel() -> Fraction:
    litres = Fraction(8, 100) * 150
    return litres * 2


def bicycle_tax() -> int:
    return only(price for price in range(1, 121) if price + Fraction(20, 100) * price == 120)


def leaky_tank() -> int:
    """Follows the water minute by minute."""
    litres, minutes = 0, 0
    while litres < 90:
        litres, minutes = litres + 12 - 3, minutes + 1
    assert litres == 90
    return minutes


def painter_days() -> Fraction:
    work = 6 * 12
    return Fraction(work, 4)


def two_ages() -> int:
    return only(lena for lena in range(31) for paul in range(31) if lena == paul + 4 and lena + paul == 30)


def lorry_chase() -> Fraction:
    head_start = 40 * (Fraction(19, 2) - 8)
    hours = head_start / (60 - 40)
    assert 60 * hours == 40 * (hours + Fraction(3, 2))
    return hours


def nut_mix() -> Fraction:
    almonds = 2 * Fraction(60, 100)
    return almonds / (2 + 6)


def cellar_pumps() -> Fraction:
    per_hour = Fraction(1, 6) + Fraction(1, 3)
    return 1 / per_hour


def fifth_quiz() -> int:
    return only(score for score in range(501) if Fraction(4 * 70 + score, 5) == 74)


def weed_growth() -> Fraction:
    area = Fraction(16)
    for _week in range(3):
        area += area / 2
    return area


def burning_candles() -> Fraction:
    """They are equally tall, and neither has burned down yet."""
    hours = Fraction(20 - 16, 2 - 1)
    assert 20 - 2 * hours == 16 - hours > 0
    return hours


def rain_barrel() -> int:
    def left(litres: int) -> Fraction:
        after_monday = litres - Fraction(litres, 2)
        return after_monday - after_monday / 3

    return only(litres for litres in range(1001) if left(litres) == 20)


ANSWERS: dict[str, Callable[[], Answer]] = {
    "step_by_step_reasoning/bakery-trays": bakery_trays,
    "step_by_step_reasoning/gift-of-apples": gift_of_apples,
    "step_by_step_reasoning/cup-prices": cup_prices,
    "step_by_step_reasoning/two-taken-from-seven": two_taken_from_seven,
    "step_by_step_reasoning/eaten-cakes": eaten_cakes,
    "step_by_step_reasoning/candle-boxes": candle_boxes,
    "step_by_step_reasoning/four-added-to-three": four_added_to_three,
    "step_by_step_reasoning/paint-ratio": paint_ratio,
    "step_by_step_reasoning/pages-left": pages_left,
    "step_by_step_reasoning/egg-cartons": egg_cartons,
    "step_by_step_reasoning/garden-edging": garden_edging,
    "step_by_step_reasoning/film-end": film_end,
    "step_by_step_reasoning/ferry-trips": ferry_trips,
    "step_by_step_reasoning/parcel-weights": parcel_weights,
    "step_by_step_reasoning/fence-posts": fence_posts,
    "step_by_step_reasoning/train-then-taxi": train_then_taxi,
    "step_by_step_reasoning/jacket-discount": jacket_discount,
    "step_by_step_reasoning/ribbon-cuts": ribbon_cuts,
    "step_by_step_reasoning/phone-bill": phone_bill,
    "step_by_step_reasoning/lift-floors": lift_floors,
    "step_by_step_reasoning/van-fuel": van_fuel,
    "step_by_step_reasoning/bicycle-tax": bicycle_tax,
    "step_by_step_reasoning/leaky-tank": leaky_tank,
    "step_by_step_reasoning/painter-days": painter_days,
    "step_by_step_reasoning/two-ages": two_ages,
    "step_by_step_reasoning/lorry-chase": lorry_chase,
    "step_by_step_reasoning/nut-mix": nut_mix,
    "step_by_step_reasoning/cellar-pumps": cellar_pumps,
    "step_by_step_reasoning/fifth-quiz": fifth_quiz,
    "step_by_step_reasoning/weed-growth": weed_growth,
    "step_by_step_reasoning/burning-candles": burning_candles,
    "step_by_step_reasoning/rain-barrel": rain_barrel,
}
