"""Numbers, names and settings as a person expects to read them: intervals, percentages, p values, layers, models."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from fi_store.vocabulary import POSITION_CLASSES, SITES
from fi_store.wording import count as count


def category(name: str) -> str:
    """`step_by_step_reasoning` -> `step by step reasoning`."""
    return name.replace("_", " ")


def position_class(name: str) -> str:
    """`response` -> `in the answer`; the `all` of an outside file stays as it is."""
    return POSITION_CLASSES.get(name, category(name))


def layers(numbers: Sequence[int]) -> str:
    """`layer 17`, `layers 17 and 23`, `layers 17, 23 and 28`."""
    ordered = sorted(set(numbers))
    if not ordered:
        return "no layer"
    return f"layer{'s' if len(ordered) > 1 else ''} {listed([str(number) for number in ordered])}"


def listed(items: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    if len(items) <= 1:
        return "".join(items)
    return f"{', '.join(items[:-1])} and {items[-1]}"


def decimal(value: float | None, digits: int = 2, *, sign: bool = False) -> str:
    """A number with a true minus sign; an en dash if it is missing or not finite."""
    if value is None or not math.isfinite(value):
        return "–"
    text = f"{value:+.{digits}f}" if sign else f"{value:.{digits}f}"
    if float(text) == 0:
        text = text.lstrip("+-")
    return text.replace("-", "−")


def amount(value: float | None) -> str:
    """A size with three significant digits, or two below one: `0.0021`, `0.74`, `1.21`, `12.4`."""
    if value is None or not math.isfinite(value):
        return "–"
    if value == 0:
        return "0"
    digits = max(0, (2 if abs(value) >= 1 else 1) - math.floor(math.log10(abs(value))))
    return decimal(value, min(digits, 5)) if digits else f"{value:,.0f}".replace("-", "−")


def interval(low: float | None, high: float | None, digits: int = 2) -> str:
    """`[0.78, 1.46]`; empty without limits."""
    if low is None or high is None:
        return ""
    return f"[{decimal(low, digits)}, {decimal(high, digits)}]"


def amounts(low: float | None, high: float | None) -> str:
    """An interval with as many digits as its larger end needs."""
    if low is None or high is None:
        return ""
    size = max(abs(low), abs(high))
    digits = 2 if size == 0 else max(2, min(5, 1 - math.floor(math.log10(size))))
    return interval(low, high, digits)


def percent(share: float | None) -> str:
    """`81%`, with a true minus sign; with a decimal near 0% and 100%."""
    if share is None or not math.isfinite(share):
        return "–"
    value = 100 * share
    text = f"{value:.1f}%" if 0 < abs(value) < 1 or 99 < abs(value) < 100 else f"{value:.0f}%"
    return text.replace("-", "−")


def shares(low: float, high: float) -> str:
    """The limits of a share: `[12%, 31%]`."""
    return f"[{percent(low)}, {percent(high)}]"


def points(difference: float) -> str:
    """A difference of two shares in percentage points: `+12`."""
    return decimal(100 * difference, 0, sign=True)


def moved(row: Mapping[str, Any]) -> str:
    """What is known of a change that is no finding."""
    if row["carries_none"]:
        return "carries none of it"
    if row["share_closed"] is None:
        return "not tested"
    if row["share_low"] > 0:
        return "closes a part, not shown to exceed its control"
    return "no effect shown"


def p_value(p: float | None) -> str:
    """`p = 0.003`, `p < 0.0001`."""
    return f"p {probability(p)}"


def probability(p: float | None) -> str:
    """`= 0.003`, `< 0.0001`, `not tested`."""
    if p is None:
        return "not tested"
    if p < 0.0001:
        return "< 0.0001"
    return f"= {p:.4f}" if p < 0.001 else f"= {p:.3f}" if p < 0.1 else f"= {p:.2f}"


def seconds(value: float) -> str:
    """`4.2 s`, `1 min 38 s`, `2 h 05 min`."""
    if value < 60:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min"


def times(log2_ratio: float | None) -> str:
    """`5.0× as active in the target`, `2.3× as active in the base`; empty without a ratio."""
    if log2_ratio is None or not math.isfinite(log2_ratio):
        return ""
    factor = 2 ** abs(log2_ratio)
    if factor < 1.05:
        return "equally active in both"
    number = f"{factor:.1f}" if factor < 100 else "over 100"
    return f"{number}× as active in the {'target' if log2_ratio > 0 else 'base'}"


def wrapped(text: str, width: int, lines: int) -> list[str]:
    """The text in at most `lines` lines of `width` characters, cut off with an ellipsis."""
    made: list[str] = [""]
    for word in text.split():
        for part in (word[i : i + width] for i in range(0, len(word), width)):
            joined = f"{made[-1]} {part}".strip()
            if len(joined) <= width:
                made[-1] = joined
            else:
                made.append(part)
    if len(made) > lines:
        made = made[:lines]
        made[-1] = made[-1][: width - 1].rstrip() + "…"
    return made


def model_name(reference: str) -> str:
    """A model's name in a sentence: the last part of a path, or a short reference as it is."""
    parts = [part for part in reference.rstrip("/").split("/") if part]
    while len(parts) > 1 and parts[-1] in ("adapter", "model", "checkpoint", "final"):
        parts.pop()
    return parts[-1] if parts else reference


def setting(value: Any) -> str:
    """A configuration value in words."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None or value in ("", [], ()):
        return "–"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list | tuple):
        return ", ".join(setting(item) for item in value)
    if isinstance(value, dict):
        return "; ".join(f"{category(str(key))}: {setting(item)}" for key, item in value.items())
    text = str(value)
    return SITES.get(text, text)
