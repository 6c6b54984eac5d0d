"""Removes from a reply what it reports as someone else's answer: "many say 40", "you might think so"."""

from __future__ import annotations

import re

_SAY = r"(?:say|think|guess|assume|answer|believe|suppose|expect|claim|argue|reply|jump\sto|be\stempted)"
_CHOOSE = rf"(?:{_SAY}|choose|pick|select|go\sfor)"
_HASTILY = r"(?:\s(?:first|at\sfirst|intuitively|wrongly|mistakenly|quickly|easily|naively|well))?"
_WHO = r"(?:many|most|some|several|other|few)(?:\sof\sus)?(?:\s(?:people|students|readers))?|others|people"
_OTHERS = rf"""
    (?:{_WHO}){_HASTILY}\s{_SAY}\b
    |(?:{_WHO}|someone|somebody|anyone|a\sperson)\s(?:will|might|may|could|would){_HASTILY}\s{_CHOOSE}\b
    |(?:you|one)\s(?:(?:might|may){_HASTILY}\s(?:think|assume|guess|say|answer)|(?:might|may|could)\sbe\stempted)\b
    |(?:it\sis|it's|it\s(?:may|might|would)\sbe)\s(?:very\s|quite\s)?(?:tempting|easy|natural|common)\sto\s{_SAY}\b
    |(?:the|a)\s(?:common|usual|typical|frequent)\s(?:mistake|error|trap|misconception)\s(?:is|would\sbe)\b
    |at\sfirst\s(?:glance|sight),?\s(?:it|this|that|one)\b
    |the\s(?:intuitive|obvious|tempting|common|usual|naive|quick)\s(?:but\swrong\s)?(?:answer|guess|response)
        \s(?:is|would\sbe|might\sbe|may\sbe)\b
"""
_OWN = rf"(?!\s(?:{_WHO})\b)"
"""After a turn: the reply gives its own view, not that of other people again."""
_TURN = rf",?\s(?:but|however|yet|in\sfact|in\sreality)\b{_OWN},?|\s-\s(?:but\b)?"
_CLAUSE = re.compile(
    rf"""\b(?:
        (?P<although>(?:although|though|while|whereas|even\s(?:if|though))\s(?:{_OTHERS})[^.!?,;\n]{{0,160}}
            (?:[.](?=\w)[^.!?,;\n]{{0,160}})?(?:,(?!\d)|(?=[.!?;\n]|$)))
        |(?:{_OTHERS})(?:(?!{_TURN})[^;\n.!?]|[.](?=\w)){{0,200}}(?:(?P<turn>{_TURN})|[;.!?]|(?=\n)|$)
    )""",
    re.IGNORECASE | re.VERBOSE,
)
_TURNS = re.compile(rf"\W{{0,4}}(?:but|however|yet|in\sfact|in\sreality|actually)\b{_OWN}", re.IGNORECASE)
_ANSWERS = re.compile(
    r"\b(?:answer|result|solution|total)\s(?:is|was|must\sbe|should\sbe)\b|\b(?:answer|conclusion):"
    r"|\b(?:therefore|thus|hence|so(?!\s(?:many|much|that|far|long|few)\b))\b|(?:^|[.;!\n])\s?it(?:\sis|'s)\s(?!an?\b|the\b)",
    re.IGNORECASE,
)
AHEAD = 400
"""Characters after a clause that are searched for the reply's own answer."""


def without_attributed(text: str) -> str:
    """The text without clauses about what others answer.

    A clause is removed only if the text turns to its own view or states another answer after it; otherwise what others
    say is all that the reply says.
    """
    return _CLAUSE.sub(lambda clause: "" if _is_removed(clause, text) else clause[0], text)


def _is_removed(clause: re.Match[str], text: str) -> bool:
    if clause["although"] or clause["turn"]:
        return True
    rest = text[clause.end() : clause.end() + AHEAD]
    return bool(_TURNS.match(rest)) or bool(_ANSWERS.search(_CLAUSE.sub("", rest)))
