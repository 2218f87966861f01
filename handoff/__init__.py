"""Handoffs between MCP servers: work crosses over without losing its context or happening twice.

`Handoff` is the MCP extension. The names that need the `mcp` package or a database driver are loaded
when they are first used, so that importing the library stays cheap.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from handoff.canonical import canonical_json
from handoff.changes import follow, rebuild
from handoff.checkpoints import Checkpoint, Checkpoints, Claim, checkpoint_key, current_fence
from handoff.context import (
    ContextLimits,
    Contexts,
    ConversationContext,
    RecordedCall,
    Summariser,
)
from handoff.envelope import (
    HandoffEnvelope,
    check_fresh,
    check_target,
    parse_envelope,
)
from handoff.errors import (
    ContentionError,
    EnvelopeError,
    StaleFenceError,
    StoreError,
    StoreMismatchError,
    StoreUnavailableError,
    StructuredError,
    TokenConflictError,
    VersionConflictError,
)
from handoff.hints import every_tool, only_repeatable
from handoff.memory_contexts import MemoryContexts
from handoff.meta import CUSTOMER_META, EXTENSION, SESSION_META
from handoff.receipts import Receipt
from handoff.resume import Timing
from handoff.retention import Retention, TokenExpiredError, sweep_all, sweeping
from handoff.shared_contexts import SharedContexts
from handoff.signing import sign
from handoff.signing_keys import KeyFile, Keys, KeysError
from handoff.store import Store
from handoff.store_checkpoints import StoreCheckpoints
from handoff.stored_contexts import StoredContexts
from handoff.stores import open_store
from handoff.update import update

if TYPE_CHECKING:
    from handoff.extension import Handoff
    from handoff.redis.store import RedisStore
    from handoff.sqlite.store import SqliteStore

_LOADED_ON_USE = {
    "Handoff": "handoff.extension",
    "RedisStore": "handoff.redis.store",
    "SqliteStore": "handoff.sqlite.store",
}

__all__ = [
    "CUSTOMER_META",
    "Checkpoint",
    "Checkpoints",
    "Claim",
    "ContentionError",
    "ContextLimits",
    "Contexts",
    "ConversationContext",
    "EXTENSION",
    "EnvelopeError",
    "Handoff",
    "HandoffEnvelope",
    "KeyFile",
    "Keys",
    "KeysError",
    "MemoryContexts",
    "Receipt",
    "RecordedCall",
    "RedisStore",
    "Retention",
    "SESSION_META",
    "SharedContexts",
    "SqliteStore",
    "StaleFenceError",
    "Store",
    "StoreCheckpoints",
    "StoreError",
    "StoreMismatchError",
    "StoreUnavailableError",
    "StoredContexts",
    "StructuredError",
    "Summariser",
    "Timing",
    "TokenConflictError",
    "TokenExpiredError",
    "VersionConflictError",
    "canonical_json",
    "check_fresh",
    "check_target",
    "checkpoint_key",
    "current_fence",
    "every_tool",
    "follow",
    "only_repeatable",
    "open_store",
    "parse_envelope",
    "rebuild",
    "sign",
    "sweep_all",
    "sweeping",
    "update",
]


def __getattr__(name: str) -> Any:
    module = _LOADED_ON_USE.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(module), name)
