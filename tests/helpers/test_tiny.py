"""The facts about the tiny models that other tests rely on."""

from __future__ import annotations

from transformers import AutoConfig, AutoTokenizer

from tests.helpers.tiny import CORE_VOCABULARY, TEXT, TinyModels


def test_special_tokens_stand_where_the_configuration_says(tiny_models: TinyModels) -> None:
    expected = {
        "llama": ["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        "qwen2_base": ["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        "qwen2_target": [
            "<|end|>",
            "<|user|>",
            "<|assistant|>",
            "<|begin|>",
            "<think>",
            "</think>",
            "<|endoftext|>",
        ],
    }
    for name, special in expected.items():
        tokenizer = AutoTokenizer.from_pretrained(getattr(tiny_models, name))
        config = AutoConfig.from_pretrained(getattr(tiny_models, name))
        assert tokenizer.convert_ids_to_tokens(range(CORE_VOCABULARY, len(tokenizer))) == special
        assert tokenizer.eos_token_id == config.eos_token_id
        assert tokenizer.bos_token_id in (None, config.bos_token_id)
        assert len(tokenizer) <= config.vocab_size
        assert tokenizer("".join(special)).input_ids == list(range(CORE_VOCABULARY, len(tokenizer)))


def test_the_pair_shares_its_core_vocabulary(tiny_models: TinyModels) -> None:
    base = AutoTokenizer.from_pretrained(tiny_models.qwen2_base)
    target = AutoTokenizer.from_pretrained(tiny_models.qwen2_target)
    ids = base(TEXT).input_ids
    assert ids == target(TEXT).input_ids
    assert max(ids) < CORE_VOCABULARY
    assert base.decode(ids) == TEXT
    assert len(ids) < len(TEXT) / 1.5
