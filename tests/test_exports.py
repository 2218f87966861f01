"""What each package offers by name, so that nothing joins or leaves it by accident."""

from __future__ import annotations

import importlib

import pytest

NAMES = {
    "handoff": """
        CUSTOMER_META Checkpoint Checkpoints Claim ContentionError ContextLimits Contexts
        ConversationContext EXTENSION EnvelopeError Handoff HandoffEnvelope KeyFile Keys KeysError
        MemoryContexts Receipt RecordedCall RedisStore Retention SESSION_META SharedContexts SqliteStore
        StaleFenceError Store StoreCheckpoints StoreError StoreMismatchError StoreUnavailableError
        StoredContexts StructuredError Summariser Timing TokenConflictError TokenExpiredError
        VersionConflictError canonical_json check_fresh check_target checkpoint_key current_fence
        every_tool follow only_repeatable open_store parse_envelope rebuild sign sweep_all sweeping
        update
    """,
    "orchestrator": (
        "Agent Desk FanOut Graph Mesh Node Pipeline RunReport Swarm SwarmState SwarmStates Team TeamError "
        "load_team open_desk open_model parse_team"
    ),
    "servers": "",
}


@pytest.mark.parametrize("package", sorted(NAMES))
def test_a_package_offers_these_names_and_no_others(package: str) -> None:
    module = importlib.import_module(package)
    assert module.__all__ == NAMES[package].split()
    assert module.__all__ == sorted(module.__all__)
    assert [name for name in module.__all__ if not hasattr(module, name)] == []
