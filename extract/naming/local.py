"""A local model that proposes names: loaded like the models of a pair, answers greedily."""

from __future__ import annotations

from collections.abc import Callable

from extract.models import load_pair
from extract.reading import generate_answers
from extract.texts import answer_start, choose_rendering, make_tokenizers
from fi_store.config import RunConfig
from fi_store.errors import FiStoreError, SilentModelError

MAX_TOKENS = 400


class LocalModel:
    """A model in memory; a call renders one user message and returns the reply's text.

    Raises:
        SilentModelError: it cannot be loaded.
    """

    def __init__(self, reference: str, config: RunConfig, note: Callable[[str], None]) -> None:
        self.reference = reference
        try:
            # A pair of a model with itself is in memory once.
            self._pair = load_pair(
                reference,
                reference,
                device=config.device,
                quantization=config.quantization,
                cache_dir=config.cache_dir,
                trust_remote_code=config.trust_remote_code,
                note=note,
            )
            self._rendering, _ = choose_rendering(self._pair, [])
            self._tokenizers = make_tokenizers(self._pair, self._rendering, [])
        except (FiStoreError, RuntimeError) as error:  # torch reports a lack of memory as a RuntimeError
            raise self._silent(error) from error

    def __call__(self, prompt: str) -> str:
        """The reply.

        Raises:
            SilentModelError: the prompt is too long for it, or the machine is too small.
        """
        ids = self._tokenizers.encode("base", self._rendering.render(prompt), "").ids
        longest = getattr(self._pair.base.plain.config, "max_position_embeddings", None)
        if longest is not None and len(ids) + MAX_TOKENS > longest:
            raise SilentModelError(
                f"{self.reference} cannot be asked for names: it reads {longest} tokens, "
                f"and a request and its reply take {len(ids) + MAX_TOKENS}."
            )
        try:
            (answer,) = generate_answers(self._pair.base, [ids], MAX_TOKENS, self._pair.device)
        except RuntimeError as error:
            raise self._silent(error) from error
        start = answer_start(answer.text, self._rendering.base)
        return "" if start is None else answer.text[start:]  # what it thought is no reply

    def _silent(self, error: Exception) -> SilentModelError:
        first = next(iter(str(error).strip().splitlines()), type(error).__name__).rstrip(".")
        return SilentModelError(f"{self.reference} cannot be asked for names: {first}.")
