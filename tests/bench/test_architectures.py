"""The list of architectures is complete, and what is found of them is judged."""

from __future__ import annotations

from bench.architectures import figures, known_architectures


def test_architectures_share_what_is_like_llama() -> None:
    known = known_architectures(vocabulary=300)
    assert len(known) == 58
    assert all(settings["vocab_size"] == 300 for _, settings in known.values())
    assert known["llama"] == ("Llama", known["arcee"][1])
    assert known["llama"][1].keys() - known["phi"][1].keys() == {"head_dim"}
    assert known["gemma3n"][1]["vocab_size_per_layer_input"] == 300


def test_what_no_sentence_explains_is_a_fault() -> None:
    found = {"problem": None, "refused": None, "error": 1e-7, "apart": 0, "not_read": []}
    refused = {"problem": "It says why.", "refused": "why", "error": None, "apart": None, "not_read": []}
    good = {"llama": found, "gemma3n": refused}
    assert all(figure.ok for figure in figures(good))
    for change in ({"problem": "UNEXPECTED KeyError: 'x'"}, {"error": 0.01}, {"apart": 1}, {"apart": None}):
        assert not all(figure.ok for figure in figures({**good, "bloom": {**found, **change}}))
