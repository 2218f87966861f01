"""One commit as one run of the commit script: what is sent, and what the answer means."""

from __future__ import annotations

from collections.abc import Sequence

from handoff.errors import StaleFenceError, StructuredError, VersionConflictError
from handoff.numbering import check_numbered
from handoff.redis.commands import LARGEST, Command, Part, run_script, script, whole
from handoff.redis.keys import encoded, measured, packed_places, unmeasured
from handoff.redis.namespace import GONE, Namespace, gone_error
from handoff.retention import TokenExpiredError
from handoff.sqlite.encoding import decode, encode
from handoff.store import Append, Check, Committed, Delete, Fence, Put, Replayed, Token, Trim, Write

_NO_TOKEN: tuple[Part, ...] = (b"", b"", b"", b"")
_NO_FENCE: tuple[Part, ...] = (b"", b"", b"")


def commit_command(
    namespace: Namespace,
    writes: Sequence[Write],
    token: Token | None,
    fence: Fence | None,
    actor: str,
    *,
    release: bool = False,
) -> Command:
    """Raises: StructuredError with code `invalid_value` for what cannot be stored."""
    check_numbered(writes, token)
    logs: dict[str, int] = {}
    arguments: list[Part] = [
        *namespace.seal,
        encoded(actor),
        *(_token(token) if token else _NO_TOKEN),
        *((encoded(fence.name), fence.number, b"1" if release else b"") if fence else _NO_FENCE),
    ]
    for write in writes:
        arguments += _write(write, logs)
    keys = [*namespace.keys.fixed, *(namespace.keys.log(collection) for collection in logs)]
    return run_script(script("commit"), keys, arguments, writes=True)


def outcome(reply: bytes, writes: Sequence[Write]) -> Committed | Replayed:
    """Raises: what `Store.commit` raises; StoreMismatchError when the database was emptied."""
    kind, rest = reply[:1], reply[1:]
    if kind == b"C":
        versions, _, seqs = rest.partition(b";")
        return Committed(_numbers(versions), _numbers(seqs))
    if kind in (b"R", b"E"):
        return replayed(reply)
    if kind == b"F":
        raise StaleFenceError(
            "the lease was taken over by another worker; this write came too late",
            suggestion="stop this work; the new holder of the lease carries on",
        )
    if kind == GONE:
        raise gone_error()
    place, actual = rest.split()
    raise _conflict(writes[int(place)], int(actual))


def replayed(reply: bytes) -> Replayed:
    """What a script answers of a known token. Raises: TokenExpiredError."""
    if reply == b"E":
        raise TokenExpiredError
    _, _, row = reply.split(b" ", 2)
    fingerprint, result = unmeasured(row)
    return Replayed(fingerprint.decode(), decode(result.decode()))


def _token(token: Token) -> tuple[Part, ...]:
    result = _numbered(token) if token.numbered else measured(encode(token.result))
    return encoded(token.key), encoded(token.fingerprint), result, whole(token.keep_seconds, "keep_seconds")


def _numbered(token: Token) -> bytes:
    """The result's text in parts: where each number belongs, there is what is added to the first entry's."""
    parts: list[str] = []
    text = "{"
    for name, value in {**token.result, **token.numbered}.items():
        text += "," if parts or text != "{" else ""
        if name in token.numbered:
            parts += [text + encode({name: 0})[1:-2], str(whole(token.numbered[name], "numbered"))]
            text = ""
        else:
            text += encode({name: value})[1:-1]
    return b"".join(map(measured, [*parts, text + "}"]))


def _write(write: Write, logs: dict[str, int]) -> tuple[Part, ...]:
    """A write as arguments; `logs` numbers the collections that the commit logs."""
    match write:
        case Put(collection, id, data, expected):
            log = logs.setdefault(collection, len(logs) + 1)
            text = (
                measured(write.text.get("title", "")) + encoded(write.text.get("body", ""))
                if (write.text is not None)
                else b""
            )
            record = (measured(collection), encoded(id), _or_blank(expected), encode(data).encode())
            return (b"P", *record, packed_places(write.indexes), text, log)
        case Delete(collection, id, expected):
            log = logs.setdefault(collection, len(logs) + 1)
            return b"D", measured(collection), encoded(id), _or_blank(expected), log
        case Check(collection, id, expected):
            return b"C", measured(collection), encoded(id), _or_blank(expected)
        case Append(stream, key, data, seq):
            return b"A", measured(stream), encoded(key), _entry_number(seq), encode(data).encode()
        case Trim(stream, key, through):
            last = through if through is None else min(whole(through, "through"), LARGEST - 1)
            return b"T", measured(stream), encoded(key), _or_blank(last)


def _entry_number(seq: int | None) -> Part:
    if seq is not None and whole(seq, "seq") < 1:
        raise StructuredError("entries are numbered from 1", code="invalid_value", field="seq")
    return _or_blank(seq)


def _or_blank(number: int | None) -> Part:
    return b"" if number is None else number


def _numbers(listed: bytes) -> tuple[int, ...]:
    return tuple(map(int, listed.split(b","))) if listed else ()


def _conflict(write: Write, actual: int) -> VersionConflictError:
    if isinstance(write, Append):
        return VersionConflictError(write.stream, write.key, (write.seq or 0) - 1, actual)
    assert isinstance(write, Put | Delete | Check) and write.expected is not None  # it was compared
    return VersionConflictError(write.collection, write.id, write.expected, actual)
