"""The `offline` model: an honest, rule-based stand-in that needs no key and no network."""

from orchestrator.models.offline.model import OfflineModel

__all__ = ["OfflineModel"]
