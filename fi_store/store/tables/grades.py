"""The tables about prompts: graded answers, accuracy, and how well each prompt tells the models apart.

These are conclusions of an analysis, keyed by the analyzed run and rewritten when the analysis is repeated.
"""

from __future__ import annotations

from sqlalchemy.orm import Mapped, mapped_column

from fi_store.store.tables.runs import Base


class AnswerGrade(Base):
    """A model's own answer to a prompt that has a grader, judged by that grader."""

    __tablename__ = "answer_grade"
    run_id: Mapped[str] = mapped_column(primary_key=True)
    prompt_id: Mapped[str] = mapped_column(primary_key=True)
    author: Mapped[str] = mapped_column(primary_key=True)  # base, target
    correct: Mapped[bool | None]  # null: no answer could be read
    extracted: Mapped[str | None]  # the answer that was read, in the model's words
    how: Mapped[str]  # where the answer was found, or why none was
    finished: Mapped[bool]  # false: cut off at the token limit


class Accuracy(Base):
    """How often each model was right, over the prompts of both halves: all, one difficulty, or one category.

    The shares count answers that were graded for both models; an answer that could not be read is not right. Intervals
    are 95%, over prompt clusters. `difference` is target minus base on the same prompts.
    """

    __tablename__ = "accuracy"
    run_id: Mapped[str] = mapped_column(primary_key=True)
    part: Mapped[str] = mapped_column(primary_key=True)  # all, difficulty, category
    name: Mapped[str] = mapped_column(primary_key=True)  # the difficulty or category; '*' for all
    n_prompts: Mapped[int]
    n_clusters: Mapped[int]
    chance: Mapped[float]  # accuracy of guessing: the mean of 1/options for choices, 0 for all other answers
    base_accuracy: Mapped[float]
    base_low: Mapped[float]
    base_high: Mapped[float]
    base_right: Mapped[int]
    base_wrong: Mapped[int]
    base_unread: Mapped[int]  # no answer could be read
    base_cut_off: Mapped[int]  # cut off at the token limit, whether right, wrong or unread
    base_right_cut_off: Mapped[int]  # cut off and right
    target_accuracy: Mapped[float]
    target_low: Mapped[float]
    target_high: Mapped[float]
    target_right: Mapped[int]
    target_wrong: Mapped[int]
    target_unread: Mapped[int]
    target_cut_off: Mapped[int]
    target_right_cut_off: Mapped[int]
    difference: Mapped[float]
    difference_low: Mapped[float]
    difference_high: Mapped[float]
    p_value: Mapped[float | None]  # McNemar's exact test over clusters
    p_adjusted: Mapped[float | None]  # Holm over everything that was tested in this table and run
    note: Mapped[str | None]  # why there is no p value


class PromptDiscrimination(Base):
    """How far apart the two models are on one prompt. Covers both halves and both answers; each answer counts half."""

    __tablename__ = "prompt_discrimination"
    run_id: Mapped[str] = mapped_column(primary_key=True)
    prompt_id: Mapped[str] = mapped_column(primary_key=True)
    kl_symmetric: Mapped[float]  # nats per answer token
    agreement: Mapped[float]  # share of positions with the same most likely token
    gap: Mapped[float | None]  # G of gate 0, nats per answer token; null if no answer has a second token
    relative_difference: Mapped[float | None]  # in the answers, mean over the analyzed layers


class CategoryDiscrimination(Base):
    """The same for a category's prompts, with the smallest effect that a test on its clusters of C could detect."""

    __tablename__ = "category_discrimination"
    run_id: Mapped[str] = mapped_column(primary_key=True)
    category: Mapped[str] = mapped_column(primary_key=True)
    n_prompts: Mapped[int]
    n_clusters: Mapped[int]
    n_clusters_c: Mapped[int]  # of these in the confirmation half
    kl_symmetric: Mapped[float]  # mean over prompts, nats per answer token
    kl_low: Mapped[float | None]  # 95%, over clusters; null with fewer than two
    kl_high: Mapped[float | None]
    share: Mapped[float]  # share of the sum of kl_symmetric over all prompts
    agreement: Mapped[float]
    gap: Mapped[float | None]
    relative_difference: Mapped[float | None]
    smallest_detectable: Mapped[float | None]  # SD above the floor, 80% power
