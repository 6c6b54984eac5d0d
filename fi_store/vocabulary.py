"""The closed lists of values that the store uses, each with its one wording for people.

A mapping's keys are the stored values, in display order. Its values are the words that sentences, pages and tables use
for them. No other module words them again.
"""

from __future__ import annotations

from typing import Literal

Side = Literal["base", "target"]
SIDES: tuple[Side, Side] = ("base", "target")
"""The two models of a pair, treated alike."""

Author = Literal["base", "target", "control"]
AUTHORS: dict[str, str] = {
    "base": "the base's answer",
    "target": "the target's answer",
    "control": "a control text",
}
"""Who wrote the text that follows the prompt in a sequence."""

PositionClass = Literal["prompt", "start", "thinking", "response"]
POSITION_CLASSES: dict[str, str] = {
    "prompt": "in the prompt",
    "start": "at the start of the answer",
    "thinking": "in the thinking before the answer",
    "response": "in the answer",
}
"""Where a token is in its sequence. `start` is the last token of the chat template before the answer."""

CHAT_TEMPLATES = {
    "base": "the base's, for both models",
    "target": "the target's, for both models",
    "own": "each model's own",
    "file": "the given one, for both models",
    "none": "none",
}
"""Whose chat template a run's prompts are written in."""

ShardKind = Literal["activation", "gradient"]
SHARD_KINDS: dict[ShardKind, str] = {"activation": "activations", "gradient": "gradients"}
"""What a shard on disk holds. The words are also the name of the one tensor in it."""

CHANGE_CLASSES = {
    "added": "new in the target",
    "strengthened": "stronger in the target",
    "redirected": "redirected in the target",
    "weakened": "weaker in the target",
    "removed": "gone from the target",
    "undetermined": "too uncertain to classify",
    "shared": "almost equally active in both",
}
"""How a feature, or a group of features, changed from base to target."""

DIFFERENT = "different"
NO_DIFFERENCE = "no_behavioral_difference"
VERDICTS = {
    DIFFERENT: "The models answer differently.",
    NO_DIFFERENCE: "No behavioral difference on these prompts.",
}
"""Gate 0's verdict on a pair."""

UNTESTED = "not tested causally"
"""The causal status of a result that has not been tested by a patch."""

TESTED = "tested by patches"
"""The causal status of a finding."""

TIERS = {
    "finding": "finding",
    "observation": "observation",
    "internal_shift": "internal shift",
}
"""How a result was tested: causally; on held-out prompts only; or in a pair without a behavioral difference. The last
two are results of version 1."""

ArmKind = Literal["group", "change", "cumulative", "control", "dictionary", "whole", "mean_shift"]
ARM_KINDS: dict[ArmKind, str] = {
    "group": "a group of features",
    "change": "the features of a change",
    "cumulative": "the features of several changes together",
    "control": "a random direction of the same size",
    "dictionary": "everything that the dictionary says about the difference",
    "whole": "the whole difference",
    "mean_shift": "the mean difference",
}
"""What a patch takes from one model and gives to the other."""

SITES = {
    "resid_post": "after the whole layer",
    "attn_out": "what the layer's attention adds",
    "mlp_out": "what the layer's feed-forward part adds",
}
"""Where in a layer activations are read."""

METRICS = {
    "cka": "Similar structure (CKA)",
    "cosine": "Same direction (cosine)",
    "relative_difference": "Size of the difference",
    "similarity": "Similarity (outside file)",
    "difference": "Difference (outside file)",
}
"""Measures of how similar two layers are. The last two come from a file that fi-store did not make."""

MODEL_KINDS = {
    "hub": "model hub",
    "folder": "local folder",
    "adapter": "adapter on the base",
    "gguf": "GGUF file",
    "bundled": "bundled with the package",
}
"""The kinds of model reference."""
