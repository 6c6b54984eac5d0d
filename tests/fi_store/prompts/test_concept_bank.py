"""The concept bank: sound, without duplicates, executable; and the errors of a bad bank."""

from __future__ import annotations

import re
from collections import Counter
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from analyze.extraction import BASE, PROMPT, RESPONSE, START, Extraction, Rows, Units
from analyze.names import ConceptContexts
from analyze.names.concepts import ConceptPredicate, concept_predicate
from analyze.names.predicates import LINE_PATTERNS, Predicate
from analyze.names.predicates import SEQUENCE_PARTS as EXECUTABLE_PARTS
from fi_store.errors import UsageError
from fi_store.prompts import Concept, Form, load_concepts
from fi_store.prompts.concept_bank import SEQUENCE_PARTS, pattern_fault

BANK = load_concepts()
EXECUTABLE = [concept for concept in BANK if concept.predicate is not None]
NEUTRAL = "The parcel is on the shelf."
PIECE = re.compile(r"\n|[^\S\n]?(?:\w+|[^\w\s]+)")
"""How these tests split a text into tokens: words and runs of marks, with the space before them."""


def contexts_of(texts: list[str]) -> ConceptContexts:
    """What predicates see when each text answers a neutral question."""
    token_id: dict[str, int] = {}
    table = []
    for unit, text in enumerate(texts):
        answer = [(RESPONSE, piece) for piece in PIECE.findall(text)]
        for position, (position_class, piece) in enumerate([(PROMPT, "parcel"), (START, "\n"), *answer]):
            table.append((unit, position_class, position, token_id.setdefault(piece, len(token_id))))
    unit, position_class, position, token = np.asarray(table, dtype=np.int64).T
    n = len(table)
    rows = Rows(
        unit=unit,
        author=np.full(n, BASE),
        position_class=position_class,
        position=position,
        sequence=unit,
        token=token,
        next_token=np.append(token[1:], -1),
        discovery=np.ones(n, dtype=bool),
    )
    names = np.asarray([str(number) for number in range(len(texts))])
    questions, no_answers = [NEUTRAL] * len(texts), [""] * len(texts)
    units = Units(
        prompt_ids=list(names),
        clusters=np.arange(len(texts)),
        categories=names,
        discovery=np.ones(len(texts), dtype=bool),
        questions=questions,
        controls=questions,
        answers={"base": no_answers, "target": no_answers},
        answer_starts=dict.fromkeys(("base", "target"), np.zeros(len(texts), dtype=np.int64)),
        finished=dict.fromkeys(("base", "target"), np.ones(len(texts), dtype=bool)),
    )
    text_of = {number: piece for piece, number in token_id.items()}
    return ConceptContexts(Extraction(units, rows, text_of, ("base", "target"), {}))


def executable(concept: Concept) -> ConceptPredicate:
    predicate = concept_predicate(concept)
    assert predicate is not None
    return predicate


def patterns(form: Form | None) -> list[str]:
    if form is None:
        return []
    return [form.value] if form.kind == "regex" else [p for part in form.parts for p in patterns(part)]


def test_the_bank_is_large_and_its_groups_are_not_small() -> None:
    groups = Counter(concept.group for concept in BANK)
    assert len(BANK) >= 330
    assert len(groups) >= 12
    assert min(groups.values()) >= 8
    assert groups["language"] >= 30
    assert groups["domain"] >= 60


def test_keys_and_phrases_are_unique_and_phrases_short() -> None:
    assert len({concept.key for concept in BANK}) == len(BANK)
    assert len({concept.phrase.casefold() for concept in BANK}) == len(BANK)
    assert all(2 <= len(concept.phrase.split()) <= 6 for concept in BANK)
    assert all(concept.description.endswith(".") for concept in BANK)
    assert all(re.search(r"[^\W\d_]", concept.source) for concept in BANK)


def test_no_two_concepts_share_more_than_half_of_their_words() -> None:
    """Counted on the shorter list, so the cosine of the two (as vectors of words) is at most a half as well."""
    words = {concept.key: {word.casefold() for word in concept.words} for concept in BANK}
    close = [
        (a, b)
        for a, b in combinations(words, 2)
        if 2 * len(words[a] & words[b]) > min(len(words[a]), len(words[b]))
    ]
    assert close == []


@pytest.mark.parametrize("concept", EXECUTABLE, ids=lambda concept: concept.key)
def test_a_predicate_fires_on_the_words_of_its_concept(concept: Concept) -> None:
    contexts = contexts_of([" ".join(concept.words), "\n".join(concept.words), *concept.words])
    assert contexts.evaluate(executable(concept)).any()


def test_no_predicate_fires_on_a_neutral_sentence() -> None:
    """A part of a sequence matches any words, so the concepts of parts are left out: one for each part."""
    contexts = contexts_of([NEUTRAL])
    parts = [concept for concept in EXECUTABLE if executable(concept).kind == "place"]
    assert {executable(concept).value[0] for concept in parts} == set(SEQUENCE_PARTS) == set(EXECUTABLE_PARTS)
    assert len(parts) == len(SEQUENCE_PARTS)
    fired = [c.key for c in EXECUTABLE if c not in parts and contexts.evaluate(executable(c)).any()]
    assert fired == []


SENTENCES = [
    ("counterfactual_reasoning", "If he had left earlier, he would be home.", "He had a house."),
    ("modus_tollens", "The lamp is not on, so it cannot be night.", "He did not see it."),
    ("false_dilemma", "Either you pay or you leave.", "Neither of us paid."),
    ("fractions", "She ate 3/4 of it.", "She ate 3 of 4."),
    ("fractions", "one-third of them", "one of them"),
    ("percentages", "It rose by 20%.", "It rose by 20."),
    ("inequalities", "so x < 5 here", "so x is five"),
    ("mathematical_induction", "for the base case n = 1", "the base is wide"),
    ("arithmetic_expression", "So 12 + 5 = 17", "So twelve"),
    ("exemplification", "fruits such as pears", "fruits and pears"),
    ("definition_relation", "A triangle is defined as a shape", "A triangle has sides"),
    ("comparison_of_degree", "He is taller than Bo", "He is tall"),
    ("accepting_thanks", "You're welcome!", "You're late!"),
    ("refusing_request", "I'm sorry, but no", "I'm happy"),
    ("refusing_request", "I can't do it", "You can do it"),
    ("accepting_request", "Sure! Here", "We made sure of it"),
    ("asking_clarification", "Could you please clarify that?", "Could you come?"),
    ("answering_no", "No, it is not", "He said no"),
    ("dont_know_answer", "I don't know that", "I know that"),
    ("self_correction", "Wait, let me redo", "He waited"),
    ("wishing", "I hope you like it", "I hop"),
    ("opinion_marked", "I think so", "You think so"),
    ("deontic_obligation", "You have to go", "You have a dog"),
    ("subjectivity_denied", "I don't have personal opinions", "I have opinions"),
    ("numbered_list", "1. Wash it", "It is 1. Then"),
    ("bulleted_list", "- Wash it", "Wash - it"),
    ("heading", "## Wash", "Wash # two"),
    ("heading", "**Wash**", "Wash it **now**"),
    ("italic_text", "so *this* is", "so 3 * 4 is"),
    ("citation", "as shown [12] by", "as shown by"),
    ("citation", "(Smith, 2019)", "(Smith came)"),
    ("date_format", "on March 3, 2024", "on the march"),
    ("date_format", "on 2024-03-01", "on 2024"),
    ("clock_time", "at 10:30", "at 10"),
    ("clock_time", "at 5 pm", "at 5"),
    ("latex_equation", "so \\frac{1}{2}", "so 1/2"),
    ("currency_amount", "It costs $5.20 now", "It costs 5 now"),
    ("all_capitals", "do NOT go", "do not go"),
    ("acronym", "the FBI came", "the man came"),
    ("acronym", "the U.S. came", "the man came"),
    ("json_data", '{"a": 1', "{a: 1"),
    ("placeholder", "Dear [Your Name]", "Dear Bo [1]"),
    ("progressive_aspect", "He is running", "He is king"),
    ("passive_voice", "It was made here", "It was fun"),
    ("first_person_singular", "So I left", "So he left"),
    ("existential_there", "There is a man", "He is there"),
    ("cleft_sentence", "It was Bo who left", "It was Bo"),
    ("french", "Il est dans une maison avec eux", "The man left"),
    ("german", "Das ist nicht ein Haus", "The man will die"),
    ("russian", "Это дом", "The dog"),
    ("japanese", "これはペンです", "The dog"),
    ("python_code", "def add(a, b):", "add them"),
    ("c_code", "#include <stdio.h>", "we include it"),
    ("go_code", "x := 5", "x = 5"),
    ("loop_construct", "for i in range(3):", "wait for him"),
    ("loop_construct", "for (int i = 0", "wait for him"),
    ("conditional_construct", "    if x > 3:", "what if x"),
    ("variable_assignment", "total = 5", "total of 5"),
    ("code_comment", "x = 1  # set x", "x is one"),
    ("identifier_camel_case", "the fileName is", "the file Name is"),
    ("file_paths", "open /home/bo/x.txt", "open it and/or"),
    ("person_name", "so Anna left", "so he left"),
    ("ordinal_number", "the 3rd man", "the man 3"),
    ("story_opening", "Once upon a time", "He came once"),
    ("safety_refusal", "I cannot assist with that", "I can assist"),
    ("disclaimer", "This is not legal advice", "legal advice"),
    ("professional_referral", "Please consult a doctor", "The doctor came"),
    ("accented_letters", "a café", "a cafe"),
    ("dash_insertion", "he left — at last", "well-known"),
    ("tag_question", "It's late, isn't it?", "Is it?"),
]
"""Key, a text where the concept is found, one where it is not."""


@pytest.mark.parametrize(("key", "yes", "no"), SENTENCES)
def test_predicates_in_sentences(key: str, yes: str, no: str) -> None:
    predicate = executable(next(concept for concept in BANK if concept.key == key))
    contexts = contexts_of([yes, no])
    found = contexts.evaluate(predicate)
    assert [bool(found[contexts._rows.unit == unit].any()) for unit in (0, 1)] == [True, False]


def test_words_that_are_tokens_have_no_marks_inside() -> None:
    """A set of tokens fires only on words that a tokenizer can keep whole."""
    sets = [concept for concept in EXECUTABLE if concept.predicate == Form("words")]
    split = {c.key: [w for w in c.words if len(PIECE.findall(w)) != 1] for c in sets}
    assert {key: words for key, words in split.items() if words} == {}


HOSTILE = [
    "",
    " ",
    "a",
    "A.",
    "(",
    "[",
    "\\",
    '"',
    "1,",
    "- ",
    "not so ",
    "a b ",
    "_",
    "0",
    "é",
    "\t",
    "<a ",
    "if ",
]


def test_patterns_are_bounded_and_survive_hostile_lines() -> None:
    bank = [pattern for concept in BANK for pattern in patterns(concept.predicate)]
    assert [pattern for pattern in bank if pattern_fault(pattern)] == []
    lines = [(piece * 200)[:200] for piece in HOSTILE] + ["a" + "\n" * 199]
    for pattern in bank:
        compiled = re.compile(pattern, re.IGNORECASE)
        for line in lines:
            compiled.search(line)


@pytest.mark.parametrize(
    ("pattern", "fault"),
    [
        (r"(a+)+$", "repeats a group"),
        (r"(?:ab|a){2}b", "repeats a group"),
        (r"a*b", "unbounded repeat"),
        (r"a{2,}b", "unbounded repeat"),
        (r"a+?$", "unbounded repeat"),
        (r"(\w)\1$", "refers back"),
        (r"(?P<x>\w)(?P=x)", "refers back"),
        (r"a{1,999}$", "more than 200"),
        (r"a{99999999999}", "is invalid"),
        (r"(a", "is invalid"),
        (r"a?", "empty text"),
        ("a" * 601, "longer than 600"),
    ],
)
def test_patterns_that_are_rejected(pattern: str, fault: str) -> None:
    assert fault in (pattern_fault(pattern) or "")


@pytest.mark.parametrize(
    "pattern", [r"[*+(]$", r"\(a\)\*b", r"\b(?:a|b)\b[^.]*$", r"(?:a[^.]*)$", r"a{3}$", r"(?:a b)?c"]
)
def test_patterns_that_are_accepted(pattern: str) -> None:
    assert pattern_fault(pattern) is None


def concept(
    key: str, words: tuple[str, ...] = ("maybe", "Perhaps", "might"), form: Form | None = None
) -> Concept:
    return Concept(key, "stance", "hedged statements", "The writer softens a claim.", words, "own", form)


def fires(form: Form, text: str) -> list[str]:
    contexts = contexts_of([text])
    return contexts.words[contexts.evaluate(executable(concept("x", form=form)))].tolist()


def test_each_form_executes() -> None:
    text = "perhaps he left. Maybe not at all"
    assert fires(Form("words"), text) == ["perhaps", "maybe"]
    assert fires(Form("regex", r"\bmaybe\b[^.]*$"), text) == ["maybe", "not", "at", "all"]
    assert fires(Form("place", "start"), text) == [""]
    opening, words = Form("place", "opening"), Form("words")
    assert fires(Form("and", parts=(opening, words)), text) == ["perhaps", "maybe"]
    assert fires(Form("or", parts=(words, Form("regex", r"\ball$"))), text) == ["perhaps", "maybe", "all"]


def test_the_grammar_still_executes_together_with_the_bank() -> None:
    contexts = contexts_of(["- one, two"])
    for name in LINE_PATTERNS:
        contexts.evaluate(Predicate("line", (name,)))
    assert contexts.evaluate(Predicate("line", ("bullet",))).any()


def test_predicates_are_named_by_the_concept() -> None:
    assert concept_predicate(concept("none")) is None
    lexical = executable(concept("x", form=Form("words")))
    assert (lexical.phrase, lexical.lexical) == ("on words of hedged statements", True)
    contextual = executable(concept("x", form=Form("regex", "a$")))
    assert (contextual.phrase, contextual.lexical) == ("in hedged statements", False)
    assert contextual.to_json() == {"kind": "line", "value": ["a$"]}


GOOD = """\
concepts:
  - key: hedged_statements
    group: stance
    phrase: hedged statements
    description: The writer softens a claim.
    words: [perhaps, maybe, might]
    predicate: {words: true}
    source: Hyland 2005
  - key: other_things
    group: stance
    phrase: other things
    description: Something else.
    words: ["no", "1.", x]
    source: own
"""

BAD = [
    ("", 1, "empty"),
    ("# nothing\n", 1, "only comments"),
    ("- a\n", 1, "a mapping with the key"),
    ("{}\n", 1, "must be a list"),
    ("concepts: []\n", 1, "must be a list"),
    ("concepts: {a: b}\n", 1, "must be a list"),
    ("concepts:\n  - hedges\n", 2, "must be a mapping"),
    ("concepts: [1\n", 2, "not YAML"),
    (GOOD.replace("concepts:", "concept:"), 1, "no key 'concept'"),
    (GOOD + "name: x\n", 15, "no key 'name'"),
    (GOOD.replace("other_things", "hedged_statements"), 9, "'hedged_statements' is already at line 2"),
    (GOOD.replace("phrase: other things", "phrase: hedged statements"), 9, "'hedged statements' is already"),
    (GOOD.replace("    source: own\n", ""), 9, "no 'source'"),
    (GOOD.replace("source: own", "taxonomy: own"), 14, "no key 'taxonomy'"),
    (GOOD.replace("key: other_things", "key: Other Things"), 9, "lowercase letters"),
    (GOOD.replace("other things", "things"), 11, "2 to 6 words"),
    (GOOD.replace("other things", "some other things than those of before"), 11, "2 to 6 words"),
    (GOOD.replace("description: Something else.", "description: "), 12, "'description' is empty"),
    (GOOD.replace('["no", "1.", x]', "a b c"), 13, "list of 3 to 25 words"),
    (GOOD.replace('["no", "1.", x]', "[a, b]"), 13, "list of 3 to 25 words"),
    (GOOD.replace('["no", "1.", x]', "[no, b, c]"), 13, "put 'no' in quotes"),
    (GOOD.replace('["no", "1.", x]', "[a b, c, d]"), 13, "no space"),
    (GOOD.replace('["no", "1.", x]', f"[{'a' * 41}, c, d]"), 13, "at most 40 characters"),
    (GOOD.replace('["no", "1.", x]', "[a, b, A]"), 13, "given twice"),
    (GOOD.replace("{words: true}", "true"), 7, "a predicate is one of"),
    (GOOD.replace("{words: true}", "{words: true, place: start}"), 7, "a predicate is one of"),
    (GOOD.replace("{words: true}", "{words: false}"), 7, "only be true"),
    (GOOD.replace("{words: true}", "{token: x}"), 7, "no key 'token'"),
    (GOOD.replace("{words: true}", "{place: end}"), 7, "'end' is not a 'place'; choose one of start"),
    (GOOD.replace("{words: true}", "{regex: '(a+)+$'}"), 7, "repeats a group"),
    (GOOD.replace("{words: true}", "{or: [{words: true}]}"), 7, "joins two"),
    (GOOD.replace("{words: true}", "{or: [{words: true}, {or: []}]}"), 7, "cannot be nested"),
    (
        GOOD.replace("{words: true}", "&a {words: true}").replace("source: own", "predicate: *a"),
        14,
        "aliases",
    ),
    (GOOD.replace("source: own", "source: !x own"), 14, "tags"),
]


@pytest.mark.parametrize(("text", "line", "complaint"), BAD)
def test_bad_banks_are_rejected_with_file_and_line(
    tmp_path: Path, text: str, line: int, complaint: str
) -> None:
    path = tmp_path / "bank.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError) as caught:
        load_concepts(path)
    assert f"{path}, line {line}: " in str(caught.value)
    assert complaint in str(caught.value)
    assert "prompts/concepts.yaml" in caught.value.hint


def test_a_custom_bank(tmp_path: Path) -> None:
    path = tmp_path / "bank.yaml"
    path.write_text(GOOD, encoding="utf-8")
    hedges, other = load_concepts(path)
    assert (hedges.key, hedges.words, hedges.predicate) == (
        "hedged_statements",
        ("perhaps", "maybe", "might"),
        Form("words"),
    )
    assert (other.words, other.predicate) == (("no", "1.", "x"), None)


def test_a_missing_bank(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        load_concepts(tmp_path / "none.yaml")
