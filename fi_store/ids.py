"""Makes ids on the client side: content hashes for entities, time-ordered UUIDs for runs."""

from __future__ import annotations

import hashlib
import json
import os
import time
import uuid
from typing import Any


def content_id(*parts: Any) -> str:
    """The first 16 hex digits of SHA-256 over the parts' canonical JSON. Equal content gets the same id."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()[:16]


def run_id() -> str:
    """A UUIDv7 (RFC 9562, section 5.7): 48 bits of milliseconds, then random bits, so ids sort by time."""
    value = (time.time_ns() // 1_000_000) << 80 | int.from_bytes(os.urandom(10), "big")
    value = (value & ~(0xF << 76)) | (0x7 << 76)
    value = (value & ~(0x3 << 62)) | (0x2 << 62)
    return str(uuid.UUID(int=value))
