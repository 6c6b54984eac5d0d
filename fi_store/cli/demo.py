"""The command `demo`: runs the pair that ships with the package, offline, through to a report."""

from __future__ import annotations

import json
import os
from typing import Any

from fi_store.cli.common import say
from fi_store.cli.options import DEMO_FIELDS, configuration, takes_config
from fi_store.cli.running import run_new


@takes_config(DEMO_FIELDS)
def demo(options: dict[str, Any]) -> None:
    """Compare a bundled real pair, offline.

    The pair is SmolLM2-135M-Instruct and a fine-tune of it. Ends with a report."""
    from fi_store.shipped import shipped

    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # nothing here needs the hub
    folder = shipped("organisms")
    settings = json.loads((folder / "demo.json").read_text(encoding="utf-8"))
    chosen = folder / settings.pop("folder")
    card = json.loads((chosen / "card.json").read_text(encoding="utf-8"))
    pair = {"base_model": card["base"], "target_model": str(chosen / card["adapter"])}
    config = configuration({**settings, **pair, **options}, None)
    say(f"Base: {card['base']}. Target: the same model with the adapter {card['name']}.")
    run_new(config)
