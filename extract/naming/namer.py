"""From a finding to proposals: from the cache, or from a model whose reply is checked and asked for twice at most."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path

from pydantic import ValidationError

from extract.naming.endpoint import Endpoint
from extract.naming.prompt import VERSION, prompt_of
from fi_store.config import RunConfig
from fi_store.errors import NamingError
from fi_store.ids import content_id
from fi_store.naming import NameRequest, Proposal, Proposals
from fi_store.store import naming_path

MAX_REPLY = 20_000
"""Characters of a reply that are read."""


class Namer:
    """The model that proposes names. It is loaded when it is first asked for what the cache does not have.

    `folder`: of the store. `note` receives messages for the user.
    """

    def __init__(self, folder: Path, model: str, config: RunConfig, note: Callable[[str], None]) -> None:
        self.folder = folder
        self.model = model
        self.config = config
        self.note = note

    def propose(self, request: NameRequest) -> Sequence[Proposal]:
        """What the model proposes for a finding; asking again for the same text reads the cache.

        Raises:
            NamingError: two replies could not be used.
            SilentModelError: the model cannot be asked.
        """
        prompt, url = prompt_of(request), self.config.naming_url
        file = self.folder / naming_path(content_id("naming", VERSION, self.model, url, prompt))
        if file.is_file():
            return Proposals.model_validate_json(file.read_bytes()).proposals
        proposals = self._asked(request, prompt)
        kept = {"model": self.model, "url": url, "prompt": prompt, **proposals.model_dump()}
        file.parent.mkdir(exist_ok=True)
        part = file.with_suffix(".part")
        part.write_text(json.dumps(kept, ensure_ascii=False, indent=1), encoding="utf-8")
        part.replace(file)  # a killed run leaves no half file
        return proposals.proposals

    def _asked(self, request: NameRequest, prompt: str) -> Proposals:
        try:
            return read_reply(self._ask(prompt))
        except ValidationError as error:
            again = prompt_of(request, _complaint(error))
        try:
            return read_reply(self._ask(again))
        except ValidationError as error:
            raise NamingError(f"{self.model} proposed no usable name: {_complaint(error)}.") from None

    @cached_property
    def _ask(self) -> Callable[[str], str]:
        if self.config.naming_url is not None:
            return Endpoint(self.config.naming_url, self.model)
        from extract.naming.local import LocalModel  # loads torch

        return LocalModel(self.model, self.config, self.note)


def read_reply(reply: str) -> Proposals:
    """The proposals in a reply: what is between its first and last brace, since many models write a fence around it.

    Raises:
        ValidationError: it is not of the form that was asked for.
    """
    text = reply[:MAX_REPLY]
    start, end = text.find("{"), text.rfind("}") + 1
    return Proposals.model_validate_json(text[start:end] if 0 <= start < end else text)


def _complaint(error: ValidationError) -> str:
    """The first mistake, without the text in which it is."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    where = ".".join(map(str, first["loc"]))
    what = "it is not JSON" if first["type"] == "json_invalid" else first["msg"].removeprefix("Value error, ")
    return f"{where}: {what}" if where else what
