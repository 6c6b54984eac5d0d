"""The closed lists of words that the store holds, each word with its one wording for people.

The keys of a mapping are the values that rows carry, in the order in which they are listed; the mapping's value is
what a sentence, a page or a table says instead. Nothing else in the package words them again.
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
"""Whose text a sequence holds after its prompt."""

PositionClass = Literal["prompt", "start", "response"]
POSITION_CLASSES: dict[str, str] = {
    "prompt": "in the prompt",
    "start": "at the start of the answer",
    "response": "in the answer",
}
"""Where a token stands. `start` is the last token of the chat template before the answer."""

CHANGE_CLASSES = {
    "added": "new in the target",
    "strengthened": "stronger in the target",
    "redirected": "redirected in the target",
    "weakened": "weaker in the target",
    "removed": "gone from the target",
    "shared": "almost equally active in both",
    "undetermined": "too uncertain to classify",
}
"""What became of a feature, or of a group of features, between base and target."""

DIFFERENT = "different"
NO_DIFFERENCE = "no_behavioral_difference"
VERDICTS = {
    DIFFERENT: "The models answer differently.",
    NO_DIFFERENCE: "No behavioral difference on these prompts.",
}
"""What gate 0 says of a pair."""

UNTESTED = "not tested causally"
"""The causal status of a result that no patch has tested."""

TIERS = {
    "finding": "finding",
    "observation": "observation",
    "internal_shift": "internal shift",
}
"""How far a result was tested: causally, on held-out prompts, or in a pair without a behavioral difference."""

SITES = {
    "resid_post": "after the whole layer",
    "attn_out": "after the layer's attention",
    "mlp_out": "after the layer's feed-forward part",
}
"""Where in a layer activations are read."""

METRICS = {
    "cka": "Similar structure (CKA)",
    "cosine": "Same direction (cosine)",
    "relative_difference": "Size of the difference",
    "similarity": "Similarity (outside file)",
    "difference": "Difference (outside file)",
}
"""Measures of how alike two layers are; the last two come from a file that fi-store did not make."""

MODEL_KINDS = {
    "hub": "model hub",
    "folder": "local folder",
    "adapter": "adapter on the base",
    "gguf": "GGUF file",
    "bundled": "bundled with the package",
}
"""What a model reference stands for."""
