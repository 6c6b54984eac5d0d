"""Recomputes the answers of multilingual_capabilities that are sums or follow a stated order."""

from collections.abc import Callable
from fractions import Fraction

Answer = str | int | float | Fraction | frozenset[str] | tuple[str, ...]

NOT_COMPUTED: frozenset[str] = frozenset(
    {
        # Vocabulary and grammar of one language; the Hindi numeral is a single word of the lexicon.
        "multilingual_capabilities/brot",
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

DIAS = ("lunes", "martes", "miércoles", "jueves", "viernes", "sábado", "domingo")


def lunes_manana() -> str:
    return DIAS[(DIAS.index("lunes") + 1) % 7]


def panier_de_fruits() -> int:
    pommes, poires = 3, 2
    return pommes + poires


def rubli_za_tetrad() -> int:
    rubles, notebook = 10, 6
    return rubles - notebook


ANSWERS: dict[str, Callable[[], Answer]] = {
    "multilingual_capabilities/lunes-manana": lunes_manana,
    "multilingual_capabilities/panier-de-fruits": panier_de_fruits,
    "multilingual_capabilities/rubli-za-tetrad": rubli_za_tetrad,
}
