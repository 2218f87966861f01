"""How a server hands over: signing keys, how long tokens are kept, and the store for long contexts.

All of it comes from the environment, so that it is the same for every server that shares one.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from handoff.errors import StructuredError
from handoff.retention import Retention
from handoff.shared_contexts import CONTEXT_STORE_VARIABLE, SharedContexts
from handoff.signing import REQUIRE_VARIABLE, Signatures
from handoff.signing_keys import KeySource, keys_from_environment

_YES, _NO = ("1", "true", "yes", "on"), ("", "0", "false", "no", "off")


@dataclass(frozen=True, slots=True)
class HandoffSettings:
    """What an operator decides about handoffs.

    Raises: KeysError when signatures are required, but there are no keys.
    """

    keys: KeySource | None = None
    require_signature: bool = False
    retention: Retention = field(default_factory=Retention)
    context_store: SharedContexts | None = None

    def __post_init__(self) -> None:
        Signatures(self.keys, self.require_signature)

    def findings(self) -> list[str]:
        """One line each for an operator who checks the configuration."""
        lines = [f"outcomes of tokens are kept {self.retention.days:g} days"]
        if self.keys is not None:
            signs = self.keys.current().signs
            lines.append(f"envelopes are signed with key {signs}" if signs else "signatures are verified")
        if self.require_signature:
            lines.append("unsigned envelopes are refused")
        if self.context_store is not None:
            lines.append("long contexts go through the shared store")
        return lines


@asynccontextmanager
async def handoff_settings(environment: Mapping[str, str] = os.environ) -> AsyncIterator[HandoffSettings]:
    """The settings that the environment asks for; the shared store is open inside the block.

    Raises: StructuredError for what cannot be used, before anything is served.
    """
    keys = keys_from_environment(environment)
    required = _is_set(environment, REQUIRE_VARIABLE)
    settings = HandoffSettings(keys, required, Retention.from_environment(environment))
    url = environment.get(CONTEXT_STORE_VARIABLE)
    if not url:
        yield settings
        return
    shared = await SharedContexts.open(url)
    try:
        yield HandoffSettings(keys, required, settings.retention, shared)
    finally:
        await shared.close()


def _is_set(environment: Mapping[str, str], variable: str) -> bool:
    given = environment.get(variable, "").strip().lower()
    if given not in _YES + _NO:
        raise StructuredError(
            f"{variable} is neither yes nor no",
            code="invalid_value",
            field=variable,
            suggestion="set it to 1",
        )
    return given in _YES
