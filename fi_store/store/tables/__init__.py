"""The tables of a store as SQLAlchemy classes: inputs and runs, token-level facts, grades, conclusions.

The schema itself is made by the migrations, not here.
"""

from __future__ import annotations

from fi_store.store.tables.behaviors import Behavior, BehaviorRate
from fi_store.store.tables.facts import (
    ActivationSummary,
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
    Intervention,
    LatentScaling,
    LayerSimilarity,
    PairGate,
    ProbeRequest,
    Report,
    ShamResult,
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
    ShamTarget,
)

__all__ = [
    "Accuracy",
    "ActivationShard",
    "ActivationSummary",
    "AnalysisPlan",
    "AnswerGrade",
    "Base",
    "Behavior",
    "BehaviorRate",
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
    "ShamResult",
    "ShamTarget",
    "TokenDivergence",
]
