"""An OpenAI-compatible endpoint: one chat completion, with a time limit and retries."""

from __future__ import annotations

import http.client
import json
import os
import time
import urllib.request
from typing import Any
from urllib.error import HTTPError

from fi_store.errors import SilentModelError

KEY = "FI_STORE_NAMING_KEY"
"""The environment variable with the key. It is sent to the endpoint and neither stored nor printed."""
TIMEOUT = 60.0
"""Seconds without a byte, and about the most for a whole reply."""
PAUSES = (0.0, 2.0, 8.0)
"""Seconds before each try."""
MAX_BYTES = 1_000_000
MAX_TOKENS = 400


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirect would carry the key to another host; it counts as an error."""

    def redirect_request(self, *_: Any) -> None:
        return None


class Endpoint:
    """A model behind an address; a call sends one user message and returns the reply's text."""

    def __init__(self, url: str, model: str) -> None:
        self.url = url
        self.model = model
        self._opener = urllib.request.build_opener(_NoRedirects)

    def __call__(self, prompt: str) -> str:
        """The reply.

        Raises:
            SilentModelError: the endpoint refuses, fails three times, or answers in another form.
        """
        message = {"role": "user", "content": prompt}
        body = {"model": self.model, "messages": [message], "temperature": 0, "max_tokens": MAX_TOKENS}
        request = urllib.request.Request(
            f"{self.url}/chat/completions", data=json.dumps(body).encode(), headers=self._headers()
        )
        received = self._received(request)
        try:
            text = json.loads(received)["choices"][0]["message"]["content"]
        except (ValueError, LookupError, TypeError, RecursionError):
            text = None
        if not isinstance(text, str):
            raise SilentModelError(
                f"The endpoint {self.url} replied in another form than chat completions have."
            )
        return text

    def _headers(self) -> dict[str, str]:
        headers = {"Content-Type": "application/json"}
        if key := os.environ.get(KEY, "").strip():
            if not (key.isascii() and key.isprintable()):  # the library's own error would print it
                raise SilentModelError(f"The key in {KEY} has characters that cannot be sent.")
            headers["Authorization"] = f"Bearer {key}"
        return headers

    def _received(self, request: urllib.request.Request) -> bytes:
        """The body of the reply. What a retry could change is tried three times."""
        problem = ""
        for pause in PAUSES:
            time.sleep(pause)
            try:
                return self._body(request)
            except HTTPError as error:
                error.close()
                problem = f"status {error.code}"
                if error.code < 500 and error.code not in (408, 429):
                    break
            except TimeoutError:
                problem = f"no reply within {TIMEOUT:.0f} seconds"
            except (OSError, http.client.HTTPException) as error:
                problem = str(getattr(error, "reason", error)) or type(error).__name__
        raise SilentModelError(f"The endpoint {self.url} cannot be asked for names: {problem}.")

    def _body(self, request: urllib.request.Request) -> bytes:
        ends = time.monotonic() + TIMEOUT
        received = b""
        with self._opener.open(request, timeout=TIMEOUT) as response:
            while part := response.read1(65536):
                received += part
                if time.monotonic() > ends:
                    raise TimeoutError
                if len(received) > MAX_BYTES:
                    raise http.client.HTTPException(f"more than {MAX_BYTES} bytes")
        return received
