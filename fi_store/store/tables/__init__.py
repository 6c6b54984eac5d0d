"""The tables of a store as SQLAlchemy classes: inputs and runs, token-level facts, grades, conclusions.

The schema itself is made by the migrations, not here.
"""

from __future__ import annotations

from fi_store.store.tables.behaviors import Behavior, BehaviorRate
from fi_store.store.tables.causes import (
    Arm,
    ArmEffect,
    BehaviorShare,
    Intervention,
    PatchedAnswer,
    ProbeRequest,
)
from fi_store.store.tables.facts import (
    ActivationSummary,
    AnswerGap,
    AnswerLogprob,
    Attribution,
    Effect,
    FeatureActivation,
    FeatureSummary,
    RunToken,
    TokenDivergence,
)
from fi_store.store.tables.grades import Accuracy, AnswerGrade, CategoryDiscrimination, PromptDiscrimination
from fi_store.store.tables.results import (
    AnalysisPlan,
    Dictionary,
    Feature,
    FeatureGroup,
    FeatureGroupMember,
    FeatureMatch,
    FeatureName,
    Finding,
    FindingExample,
    LatentScaling,
    LayerSimilarity,
    PairGate,
    Report,
)
from fi_store.store.tables.runs import (
    ActivationShard,
    Base,
    Generation,
    Model,
    Prompt,
    PromptSet,
    PromptSetMember,
    Run,
    RunEvent,
    RunUnit,
    Sequence,
)

__all__ = [
    "Accuracy",
    "ActivationShard",
    "ActivationSummary",
    "AnalysisPlan",
    "AnswerGap",
    "AnswerGrade",
    "AnswerLogprob",
    "Arm",
    "ArmEffect",
    "Attribution",
    "Base",
    "Behavior",
    "BehaviorRate",
    "BehaviorShare",
    "CategoryDiscrimination",
    "Dictionary",
    "Effect",
    "Feature",
    "FeatureActivation",
    "FeatureGroup",
    "FeatureGroupMember",
    "FeatureMatch",
    "FeatureName",
    "FeatureSummary",
    "Finding",
    "FindingExample",
    "Generation",
    "Intervention",
    "LatentScaling",
    "LayerSimilarity",
    "Model",
    "PairGate",
    "PatchedAnswer",
    "ProbeRequest",
    "Prompt",
    "PromptDiscrimination",
    "PromptSet",
    "PromptSetMember",
    "Report",
    "Run",
    "RunEvent",
    "RunToken",
    "RunUnit",
    "Sequence",
    "TokenDivergence",
]
