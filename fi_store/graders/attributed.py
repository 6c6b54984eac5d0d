"""Leaves out of a reply what it reports as somebody else's answer: "many say 40", "you might think so"."""

from __future__ import annotations

import re

_SAY = r"(?:say|think|guess|assume|answer|believe|suppose|expect|claim|argue|reply|jump\sto|be\stempted)"
_CHOOSE = rf"(?:{_SAY}|choose|pick|select|go\sfor)"
_HASTILY = r"(?:\s(?:first|at\sfirst|intuitively|wrongly|mistakenly|quickly|easily|naively|well))?"
_WHO = r"(?:many|most|some|several|other|few)(?:\sof\sus)?(?:\s(?:people|students|readers))?|others|people"
_OTHERS = rf"""
    (?:{_WHO}){_HASTILY}\s{_SAY}\b
    |(?:{_WHO}|you|one|someone|somebody|anyone|a\sperson)\s(?:will|might|may|could|would){_HASTILY}\s{_CHOOSE}\b
    |(?:it\sis|it's|it\s(?:may|might|would)\sbe)\s(?:very\s|quite\s)?(?:tempting|easy|natural|common)\sto\s{_SAY}\b
    |(?:the|a)\s(?:common|usual|typical|frequent)\s(?:mistake|error|trap|misconception)\s(?:is|would\sbe)\b
    |at\sfirst\s(?:glance|sight),?\s(?:it|this|that|one)\b
    |the\s(?:intuitive|obvious|tempting|common|usual|naive|quick)\s(?:but\swrong\s)?(?:answer|guess|response)
        \s(?:is|would\sbe|might\sbe|may\sbe)\b(?=[^.!?;\n]{{1,120}},?\s(?:but|however|yet)\b)
"""
_TURN = r",?\s(?:but|however|yet|in\sfact|in\sreality)\b,?|\s-\s(?:but\b)?"
_CLAUSE = re.compile(
    rf"""\b(?:
        (?:although|though|while|whereas|even\s(?:if|though))\s(?:{_OTHERS})[^,;\n]{{0,160}}(?:,(?!\d)|(?=[;\n]))
        |(?:{_OTHERS})(?:(?!{_TURN})[^;\n.!?]|[.](?=\w)){{0,200}}(?:{_TURN}|[;.!?]|(?=\n)|$)
    )""",
    re.IGNORECASE | re.VERBOSE,
)


def own_words(text: str) -> str:
    """The text without clauses that state what others answer, up to where the reply turns to its own view."""
    return _CLAUSE.sub("", text)
