"""The tables of the causal test: arms, requests to run the models again, what came of them, and its summary."""

from __future__ import annotations

from sqlalchemy.orm import Mapped, mapped_column

from fi_store.store.tables.runs import Base


class Arm(Base):
    """A patch of one layer: at some rows, what moves activations from the base's towards the target's.

    The file holds `rows` (r,), ascending `token_divergence.row` of the extraction, and `coefficients` (r, k) float32.
    With `directions` (k, d_model) float32 the patch is coefficients @ directions; without, the coefficients are the
    vectors themselves (k = d_model). It is subtracted in the target and added in the base. The id is a hash of the
    content, so an analysis that is repeated asks for the same arms.
    """

    __tablename__ = "arm"
    id: Mapped[str] = mapped_column(primary_key=True)
    run_id: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str]  # group, change, cumulative, control, dictionary, whole, mean_shift
    # the group, or the group that leads the change; null for arms of a whole layer
    group_id: Mapped[str | None]
    site: Mapped[str]
    layer: Mapped[int]
    position_classes: Mapped[list[str]]
    n_rows: Mapped[int]
    n_directions: Mapped[int]  # 0: whole vectors
    path: Mapped[str]  # relative to the folder of the store


class ProbeRequest(Base):
    """A request of the analysis to run a model again, with a patch or without.

    Kind `read`: read both answers to these prompts and store their log-probabilities; with `words` also the tokens that
    the patch pushes. Kind `generate`: answer these prompts. For positions in the answer, which a patch cannot know
    beforehand, both models read on side by side and the arm's features that act there are encoded at every step.
    """

    __tablename__ = "probe_request"
    id: Mapped[str] = mapped_column(primary_key=True)  # hash of run and content
    run_id: Mapped[str]
    kind: Mapped[str]  # read, generate
    side: Mapped[str]  # base, target: the model that is patched
    arm_id: Mapped[str | None]  # null: without a patch
    prompt_ids: Mapped[list[str]]
    words: Mapped[bool]
    state: Mapped[str]  # asked, answered, failed
    reason: Mapped[str | None]  # why it failed


class Intervention(Base):
    """How likely a patched model finds one of the two answers to a prompt, token by token."""

    __tablename__ = "intervention"
    request_id: Mapped[str] = mapped_column(primary_key=True)
    prompt_id: Mapped[str] = mapped_column(primary_key=True)
    author: Mapped[str] = mapped_column(primary_key=True)  # whose answer was read: base, target
    run_id: Mapped[str]
    side: Mapped[str]  # the model that read
    logprob: Mapped[float]  # sum over the tokens, nats
    n_tokens: Mapped[int]
    token_logprobs: Mapped[list[float]]  # of the tokens that `answer_logprob` counts, in their order
    # with `words`: the tokens whose p log(p / p patched), summed over the answer, is largest and smallest
    pushed_ids: Mapped[list[int]]
    pushed_nats: Mapped[list[float]]  # > 0, descending
    pulled_ids: Mapped[list[int]]
    pulled_nats: Mapped[list[float]]  # < 0, ascending


class PatchedAnswer(Base):
    """A model's greedy answer to a prompt in one request of kind `generate`."""

    __tablename__ = "patched_answer"
    request_id: Mapped[str] = mapped_column(primary_key=True)
    prompt_id: Mapped[str] = mapped_column(primary_key=True)
    run_id: Mapped[str]
    side: Mapped[str]
    text: Mapped[str]
    n_tokens: Mapped[int]
    finished: Mapped[bool]  # false: cut off at the token limit
    answer_start: Mapped[int | None]  # as in `generation`


class ArmEffect(Base):
    """What an arm closes of the gap on C, on one side (METHOD section 5), with 95% limits over clusters."""

    __tablename__ = "arm_effect"
    run_id: Mapped[str] = mapped_column(primary_key=True)
    arm_id: Mapped[str] = mapped_column(primary_key=True)
    side: Mapped[str] = mapped_column(primary_key=True)  # the model that was patched
    closed: Mapped[float]  # mean of A - A patched, nats per token
    share: Mapped[float]  # sum (A - A patched) / sum G
    share_low: Mapped[float]
    share_high: Mapped[float]
    attributed: Mapped[float | None]  # the share that attribution on C predicts
    p_value: Mapped[float | None]  # changes: the rank among the control draws, on C
    p_adjusted: Mapped[float | None]  # Holm over changes and sides
    n_units: Mapped[int]


class BehaviorShare(Base):
    """How much of a behavior a tested change carries: nats closed on its span tokens over the gap on them.

    Taken where exactly one model's answer has the behavior (METHOD section 5), at the change's layer and better side.
    """

    __tablename__ = "behavior_share"
    run_id: Mapped[str] = mapped_column(primary_key=True)
    group_id: Mapped[str] = mapped_column(primary_key=True)  # leads the change
    behavior: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)  # behavior.number
    side: Mapped[str] = mapped_column(primary_key=True)
    share: Mapped[float]
    share_low: Mapped[float]
    share_high: Mapped[float]
    n_units: Mapped[int]
