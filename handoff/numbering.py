"""Results that tell the number which an append of the same commit gets."""

from __future__ import annotations

from collections.abc import Sequence

from handoff.errors import StructuredError
from handoff.store import Append, Token, Write


def check_numbered(writes: Sequence[Write], token: Token | None) -> None:
    """Raises: StructuredError when the token's result is to be numbered, but nothing is appended."""
    if token is None or not token.numbered or any(isinstance(write, Append) for write in writes):
        return
    raise StructuredError(
        "the result is to be numbered by an append, but there is none", code="invalid_value", field="numbered"
    )
