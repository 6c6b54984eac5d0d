"""Prompts of difficulty 1 are easy: the bundled model is right on most of them in each category."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import pytest

from fi_store.graders import grade
from fi_store.prompts import load_suite

NEW_TOKENS = 64
BATCH = 36
"""Small enough for a laptop, with prompts of similar length in one batch."""


@pytest.mark.real
def test_the_bundled_model_answers_the_easiest_prompts_of_every_category() -> None:
    """At least three and half of each category: there is slack, since some answers depend on a CPU's last bits."""
    from extract.models import load_pair
    from extract.reading import generate_answers
    from extract.texts import choose_rendering

    pair = load_pair(
        "bundled:smollm2", "bundled:smollm2", device="cpu", quantization="fp32", note=lambda _: None
    )
    prompts = [
        p for p in load_suite([Path("reasoning"), Path("broad")]).prompts if p.grader and p.difficulty == 1
    ]
    prompts.sort(key=lambda prompt: len(prompt.text))  # similar lengths in a batch: little padding
    rendering, _ = choose_rendering(pair, [prompt.text for prompt in prompts])
    rows = [
        pair.base.tokenizer(rendering.render(prompt.text).base.text, add_special_tokens=False)["input_ids"]
        for prompt in prompts
    ]
    replies = [
        answer.text
        for start in range(0, len(rows), BATCH)
        for answer in generate_answers(pair.base, rows[start : start + BATCH], NEW_TOKENS, "cpu")
    ]
    right: dict[str, list[bool]] = defaultdict(list)
    for prompt, reply in zip(prompts, replies, strict=True):
        assert prompt.grader is not None
        assert prompt.answer is not None
        right[prompt.category].append(grade(prompt.grader, prompt.answer, reply, prompt.text).correct is True)
    assert len(right) == 22
    weak = {
        category: f"{sum(grades)} of {len(grades)}"
        for category, grades in right.items()
        if sum(grades) < max(3, len(grades) / 2)
    }
    assert weak == {}
