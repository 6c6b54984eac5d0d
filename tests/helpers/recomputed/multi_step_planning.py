"""Recomputes the answers of multi_step_planning by searching over plans: orders, allocations and states."""

from collections.abc import Callable, Hashable, Iterable
from fractions import Fraction
from itertools import permutations, product
from typing import TypeVar

Answer = str | int | float | Fraction | frozenset[str] | tuple[str, ...]
State = TypeVar("State", bound=Hashable)

NOT_COMPUTED: frozenset[str] = frozenset()


def fewest_steps(
    start: State, is_goal: Callable[[State], bool], after: Callable[[State], Iterable[State]]
) -> int:
    """The number of steps of a shortest path, by breadth-first search."""
    seen, edge, steps = {start}, [start], 0
    while not any(map(is_goal, edge)):
        edge = [state for state in {new for old in edge for new in after(old)} if state not in seen]
        assert edge, "no plan reaches the goal"
        seen.update(edge)
        steps += 1
    return steps


def only_order(items: Iterable[str], before: set[tuple[str, str]]) -> tuple[str, ...]:
    """The one order of the items that keeps every (earlier, later) pair."""
    (order,) = [o for o in permutations(items) if all(o.index(a) < o.index(b) for a, b in before)]
    return order


def picture_and_nail() -> str:
    steps = {"A": "hang up", "B": "drive in"}
    first = only_order(steps.values(), {("drive in", "hang up")})[0]
    (name,) = [name for name, step in steps.items() if step == first]
    return name


def buttered_toast() -> str:
    """Butter needs a slice to be spread on."""
    steps = {"A": "spread", "B": "cut"}
    first = only_order(steps.values(), {("cut", "spread")})[0]
    (name,) = [name for name, step in steps.items() if step == first]
    return name


def socks_before_shoes() -> str:
    return only_order(["shoes", "socks"], {("socks", "shoes")})[0]


def four_morning_steps() -> int:
    return len(["wake", "wash", "dress", "eat"])


def closing_time() -> int:
    return max(minute for minute in range(60) if minute + 20 <= 60)


def rice_and_fish() -> int:
    (delay,) = [delay for delay in range(100) if delay + 12 == 20]
    return delay


def cancelled_bus() -> tuple[str, ...]:
    plan = ["train", "bus", "ferry"]
    return tuple("taxi" if stage == "bus" else stage for stage in plan)


def crates_and_cart() -> int:
    """A state is the number of crates at the gate and whether the cart is there."""

    def drives(state: tuple[int, bool]) -> list[tuple[int, bool]]:
        at_gate, cart_at_gate = state
        if not cart_at_gate:
            return [(at_gate + taken, True) for taken in range(min(3, 10 - at_gate) + 1)]
        return [(at_gate - taken, False) for taken in range(min(3, at_gate) + 1)]

    start: tuple[int, bool] = (10, True)
    return fewest_steps(start, lambda state: state[0] == 0, drives)


def three_errands() -> tuple[str, ...]:
    """Minutes after 9:00 when each place is open; waiting is allowed, a visit on the last minute is not."""
    opening = {"bakery": (120, 900), "post office": (60, 120), "bank": (0, 60)}

    def works(order: tuple[str, ...]) -> bool:
        now = 0
        for place in order:
            opens, shuts = opening[place]
            now = max(now, opens)
            if now >= shuts:
                return False
        return True

    (order,) = [order for order in permutations(opening) if works(order)]
    return order


def two_roads() -> int:
    roads = {("A", "B"): 4, ("A", "C"): 2, ("B", "D"): 5, ("C", "D"): 9}
    return min(roads["A", middle] + roads[middle, "D"] for middle in "BC")


def house_jobs() -> int:
    """Each job starts when all jobs before it are done."""
    days = {"walls": 3, "roof": 2, "pipes": 4, "painting": 1}
    after = {"walls": [], "roof": ["walls"], "pipes": ["walls"], "painting": ["roof", "pipes"]}

    def done(job: str) -> int:
        return days[job] + max((done(earlier) for earlier in after[job]), default=0)

    return max(map(done, days))


def turned_tower() -> int:
    """A state is the set of stacks, each written from the table upward."""

    def moves(stacks: frozenset[str]) -> list[frozenset[str]]:
        found = []
        for source in stacks:
            rest, block = stacks - {source}, source[-1]
            left = {source[:-1]} - {""}
            found.append(frozenset(rest | left | {block}))
            found.extend(frozenset((rest - {target}) | left | {target + block}) for target in rest)
        return found

    return fewest_steps(frozenset({"CBA"}), lambda stacks: stacks == frozenset({"ABC"}), moves)


def one_oven() -> int:
    """Every way to put the dishes into loads of at most two dishes at one heat."""
    dishes = {"pie": (40, 200), "bread": (30, 200), "custard": (25, 150)}
    totals = []
    for numbers in product(range(3), repeat=3):
        loads = [
            [dish for dish, n in zip(dishes.values(), numbers, strict=True) if n == load]
            for load in set(numbers)
        ]
        if all(len(load) <= 2 and len({heat for _time, heat in load}) == 1 for load in loads):
            totals.append(sum(max(time for time, _heat in load) for load in loads))
    return min(totals)


def lamp_panel() -> int:
    buttons = {"X": {1, 2}, "Y": {2, 3}}

    def presses(lit: frozenset[int]) -> list[frozenset[int]]:
        return [lit ^ flipped for flipped in buttons.values()]

    return fewest_steps(frozenset[int](), lambda lit: lit == {1, 3}, presses)


def scooter_charges() -> int:
    """Legs of the trip from charge to charge; the last leg ends at the goal and is no stop."""
    places = [20, 35, 50, 70, 90]

    def legs(here: int) -> list[int]:
        return [place for place in places if 0 < place - here <= 30]

    return fewest_steps(0, lambda here: here == 90, legs) - 1


def two_mechanics() -> int:
    repairs = [6, 4, 4, 3, 3]
    finishes = []
    for who in product((0, 1), repeat=len(repairs)):
        hours = [
            sum(h for h, one in zip(repairs, who, strict=True) if one == mechanic) for mechanic in (0, 1)
        ]
        finishes.append(max(hours))
    return min(finishes)


ANSWERS: dict[str, Callable[[], Answer]] = {
    "multi_step_planning/picture-and-nail": picture_and_nail,
    "multi_step_planning/buttered-toast": buttered_toast,
    "multi_step_planning/socks-before-shoes": socks_before_shoes,
    "multi_step_planning/four-morning-steps": four_morning_steps,
    "multi_step_planning/closing-time": closing_time,
    "multi_step_planning/rice-and-fish": rice_and_fish,
    "multi_step_planning/cancelled-bus": cancelled_bus,
    "multi_step_planning/crates-and-cart": crates_and_cart,
    "multi_step_planning/three-errands": three_errands,
    "multi_step_planning/two-roads": two_roads,
    "multi_step_planning/house-jobs": house_jobs,
    "multi_step_planning/turned-tower": turned_tower,
    "multi_step_planning/one-oven": one_oven,
    "multi_step_planning/lamp-panel": lamp_panel,
    "multi_step_planning/scooter-charges": scooter_charges,
    "multi_step_planning/two-mechanics": two_mechanics,
}
