"""Which model answers: by name, or by what the environment offers."""

from __future__ import annotations

import os
from pathlib import Path

from orchestrator.models.protocol import Model, ModelChoiceError

KEYS = ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN")


def default_name() -> str:
    """`claude` when a key is set, else `offline`, which is always shown as what it is."""
    return "claude" if any(os.environ.get(key) for key in KEYS) else "offline"


def open_model(name: str) -> Model:
    """The model called `offline`, `claude` or `scripted:FILE`.

    Raises: ModelChoiceError.
    """
    match name.partition(":"):
        case ("offline", "", ""):
            from orchestrator.models.offline import OfflineModel

            return OfflineModel()
        case ("claude", "", ""):
            from orchestrator.models.claude import ClaudeModel

            return ClaudeModel.from_environment()
        case ("scripted", ":", path) if path:
            from orchestrator.models.scripted import ScriptedModel, load_script

            return ScriptedModel(load_script(Path(path)))
        case _:
            raise ModelChoiceError("--model takes offline, claude or scripted:FILE")
