"""Recomputes the answers of multilingual_capabilities that are sums."""

from collections.abc import Callable
from fractions import Fraction

Answer = str | int | float | Fraction | frozenset[str] | tuple[str, ...]

NOT_COMPUTED: frozenset[str] = frozenset(
    {
        # Vocabulary and grammar of one language; the Hindi numeral is a single word of the lexicon.
        "multilingual_capabilities/capital-de-espana",
        "multilingual_capabilities/french-hello",
        "multilingual_capabilities/spanish-house",
        "multilingual_capabilities/guten-morgen",
        "multilingual_capabilities/kind-im-garten",
        "multilingual_capabilities/wingi-wa-kiti",
        "multilingual_capabilities/gatto-nero",
        "multilingual_capabilities/puxou-a-porta",
        "multilingual_capabilities/groter-dan",
        "multilingual_capabilities/kapilar",
        "multilingual_capabilities/did-kabir",
        "multilingual_capabilities/liangci",
        "multilingual_capabilities/nie-pije-kawy",
        "multilingual_capabilities/paintalis",
        "multilingual_capabilities/matte-iru-hito",
    }
)


def rubli_za_tetrad() -> int:
    rubles, notebook = 10, 6
    return rubles - notebook


ANSWERS: dict[str, Callable[[], Answer]] = {
    "multilingual_capabilities/rubli-za-tetrad": rubli_za_tetrad,
}
