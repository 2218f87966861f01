"""What a look at the server finds, in lines for a person; a line with a colon in it is a problem."""

from __future__ import annotations

from dataclasses import dataclass

from handoff.errors import StoreUnavailableError
from handoff.redis.commands import command
from handoff.redis.connection import Link
from handoff.redis.ownership import SCHEMA_VERSION, server_information


@dataclass(frozen=True, slots=True)
class _Setting:
    """A setting on which it depends whether an acknowledged commit can be lost."""

    name: str
    safe: str
    danger: str


_SETTINGS = (
    _Setting("appendonly", "yes", "a restart of Redis may lose what was acknowledged"),
    _Setting("appendfsync", "always", "a crash of its machine may lose what was acknowledged last"),
    _Setting("maxmemory-policy", "noeviction", "Redis may drop records when its memory is full"),
)


@dataclass(frozen=True, slots=True)
class Persistence:
    """The server's settings, as far as it lets them be read."""

    values: dict[str, str | None]

    def lines(self) -> list[str]:
        return [self._line(setting) for setting in _SETTINGS]

    def unsafe(self) -> list[str]:
        """A line for each setting that lets an acknowledged commit be lost."""
        return [self._line(setting) for setting in _SETTINGS if self.values[setting.name] != setting.safe]

    def _line(self, setting: _Setting) -> str:
        value = self.values[setting.name]
        if value == setting.safe:
            return f"{setting.name} {value}"
        if value is None:
            return f"{setting.name} unknown: allow this user CONFIG GET, or accept that commits may be lost"
        return f"{setting.name} {value}: {setting.danger}; set it to {setting.safe}"


def unsafe_error(lines: list[str]) -> StoreUnavailableError:
    """What a probe is told of a server with such settings; `lines` name them and what each should be."""
    cure = ", ".join(f"{setting.name} {setting.safe}" for setting in _SETTINGS)
    return StoreUnavailableError(
        f"Redis may lose what it acknowledged ({'; '.join(lines)})",
        code="store_unsafe",
        suggestion=f"configure Redis with {cure}; or start with --accept-loss (SWITCHBOARD_ACCEPT_LOSS=1)",
        retryable=False,
    )


async def persistence(link: Link) -> Persistence:
    """Raises: StoreUnavailableError when the server does not answer."""
    return Persistence({setting.name: await _value(link, setting.name) for setting in _SETTINGS})


async def server(link: Link) -> list[str]:
    """Version, schema, role, and whether the last writes to disk went well."""
    found = {
        name: value
        for section in ("server", "replication", "persistence")
        for name, value in (await server_information(link, section)).items()
    }
    lines = [f"Redis {found['redis_version']}", f"schema version {SCHEMA_VERSION}"]
    if found.get("role") != "master":
        lines.append("role replica: it takes no writes; point the store URL at the primary server")
    if found.get("aof_last_write_status", "ok") != "ok":
        lines.append("append-only file: the last write to it failed; free disk space on the Redis server")
    return lines


async def _value(link: Link, name: str) -> str | None:
    try:
        pair = await link.run(command("CONFIG", "GET", name))
    except StoreUnavailableError as error:
        if error.retryable:
            raise
        return None  # hosted servers often forbid it
    return pair[1].decode() if pair else None
