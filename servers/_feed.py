"""The records of a server for those who follow them from outside, as MCP resources.

`switchboard://<server>/changes` names the collections; `switchboard://<server>/changes/{collection}{?after}`
gives a page of one: without `after` the records as they are now, then the changes since, as
`handoff.changes` does for programs that open the store themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any
from urllib.parse import quote

from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.resources import ResourceSecurity
from pydantic import AwareDatetime, BaseModel, Field

from handoff.changes import Batch, Change, read_changes
from handoff.errors import JsonObject, StructuredError
from handoff.store import Store
from servers._records import collections_in
from servers._results import InvalidError, NotFoundError

PAGE = 50
PAGE_CHARS = 200_000
"""How long a page may be before it ends with fewer changes; there is always one."""

_MIME_TYPE = "application/json"


class ChangeView(BaseModel):
    """One record that there is or that changed; what is not known is left out."""

    position: int | None = None
    """Where the change stands in the log; none for a record as it is when the following begins."""
    id: str
    version: int
    """The version in the store that the change made."""
    actor: str | None = None
    token: str | None = None
    """Hash of the idempotency token under which it was made."""
    at: AwareDatetime | None = None
    deleted: bool = False
    """The record is gone: then there is no `record`."""
    record: JsonObject | None = None
    """The record as it is now, which may be newer than the change."""


class ChangePage(BaseModel):
    """Changes of one collection, in order."""

    collection: str
    changes: list[ChangeView]
    next_after: str
    """Give it as `after` to go on; also when there is nothing more for now."""
    more: bool
    """Whether to go on at once."""


class FollowedCollection(BaseModel):
    """A collection that can be followed."""

    collection: str
    uri: str
    newest_position: int
    """Where its newest change stands; it moved if something changed."""


class FollowedCollections(BaseModel):
    """What can be followed on a server."""

    collections: list[FollowedCollection]


class Feed:
    """The changes of a server's own collections."""

    def __init__(self, server_name: str, store: Store) -> None:
        self.uri = f"switchboard://{server_name}/changes"
        self._store = store

    async def collections(self) -> FollowedCollections:
        found = [
            FollowedCollection(
                collection=name,
                uri=f"{self.uri}/{quote(name, safe='')}",
                newest_position=(await self._store.scan(name, limit=0)).position,
            )
            for name in sorted(collections_in(self._store))
        ]
        return FollowedCollections(collections=found)

    async def page(self, collection: str, after: str | None) -> ChangePage:
        """Raises: NotFoundError; StructuredError `invalid_cursor`; StoreUnavailableError."""
        if collection not in collections_in(self._store):
            raise NotFoundError(
                "this server has no collection of that name",
                field="collection",
                suggestion=f"read {self.uri} for the names",
            )
        batch = await self._batch(collection, after)
        shown = [_view(change) for change in batch.changes]
        count = _fitting(shown)
        whole = count == len(shown)
        return ChangePage(
            collection=collection,
            changes=shown[:count],
            next_after=batch.cursor if whole else batch.changes[count - 1].cursor,
            more=not (whole and batch.caught_up),
        )

    async def _batch(self, collection: str, after: str | None) -> Batch:
        try:
            return await read_changes(self._store, collection, after, limit=PAGE)
        except StructuredError as error:
            if error.code != "invalid_cursor":
                raise
            raise InvalidError(
                "after is not what a page of this collection gave, or its store is another one by now",
                code="invalid_cursor",
                field="after",
                suggestion="leave after out to begin anew with the records as they are now",
            ) from None


def offer_changes(server: MCPServer[Any], feed: Feed) -> None:
    """Add the feed's resources to a server; who may read them is for the server's guard to say."""

    async def collections() -> str:
        return (await feed.collections()).model_dump_json()

    async def changes(
        collection: str,
        after: Annotated[str | None, Field(description="`next_after` of the page before.")] = None,
    ) -> str:
        return (await feed.page(collection, after)).model_dump_json(exclude_none=True)

    server.resource(
        feed.uri,
        name="changes",
        title="Collections whose changes can be followed",
        description="Names the collections, each with where its newest change stands.",
        mime_type=_MIME_TYPE,
    )(collections)
    server.resource(
        f"{feed.uri}/{{collection}}{{?after}}",
        name="changes_of_collection",
        title="Changes of a collection",
        description=(
            "Without `after`: the records as they are now, and then every change since. Go on with "
            "`next_after` of the page before. For staff."
        ),
        mime_type=_MIME_TYPE,
        security=ResourceSecurity(exempt_params=frozenset({"after"})),
    )(changes)


def _view(change: Change) -> ChangeView:
    record = change.record.data if change.record else None
    entry = change.entry
    if entry is None:
        return ChangeView(id=change.id, version=change.record.version if change.record else 0, record=record)
    return ChangeView(
        position=entry.position,
        id=change.id,
        version=entry.version,
        actor=entry.actor,
        token=entry.token,
        at=datetime.fromtimestamp(entry.at, UTC),
        deleted=record is None,
        record=record,
    )


def _fitting(changes: Sequence[ChangeView]) -> int:
    """How many changes make a page that is not too long."""
    chars = 0
    for count, change in enumerate(changes):
        chars += len(change.model_dump_json())
        if count and chars > PAGE_CHARS:
            return count
    return len(changes)
