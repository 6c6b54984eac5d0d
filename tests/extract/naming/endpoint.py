"""An OpenAI-compatible endpoint on this machine that replies from a list."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

GOOD = {"proposals": [{"phrase": "Makes a plan first", "words": ["Plan", "first"]}]}


def reply(text: str) -> bytes:
    """A chat completion with this text."""
    return json.dumps({"choices": [{"message": {"role": "assistant", "content": text}}]}).encode()


@dataclass
class Served:
    """What the server was asked, and where it is."""

    url: str
    bodies: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)


@contextmanager
def serving(replies: Sequence[tuple[int, bytes] | float]) -> Iterator[Served]:
    """Replies in this order (status and body, or seconds of silence), the last one again and again."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    served = Served(f"http://127.0.0.1:{server.server_port}/v1")

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            chosen = replies[min(len(served.bodies), len(replies) - 1)]
            served.paths.append(self.path)
            served.headers.append(dict(self.headers))
            served.bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            if isinstance(chosen, float):
                time.sleep(chosen)
                self.close_connection = True
                return
            status, body = chosen
            self.send_response(status)
            if 300 <= status < 400:
                self.send_header("Location", f"{served.url}/elsewhere")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server.RequestHandlerClass = Handler
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
