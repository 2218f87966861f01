"""`switchboard-<server> tokens`: giving out bearer tokens, seeing them, and taking them away."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError

from servers._auth.options import TOKENS_VARIABLE
from servers._auth.token_file import SHOWN, add_entry, remove_entry
from servers._auth.tokens import Entry, TokenFileError, entries, new_token

FileOption = Annotated[
    Path,
    typer.Option("--tokens", envvar=TOKENS_VARIABLE, help="The token file; made if it is not there."),
]
Scope = Annotated[
    list[str],
    typer.Option("--scope", help="What it may do: billing:read, handoff, staff; repeatable."),
]


def add_token_commands(app: typer.Typer) -> None:
    """Add `tokens add|list|remove` to a server's command."""
    tokens = typer.Typer(help="Give out the bearer tokens that HTTP asks for, and take them away.")
    tokens.command("add")(add)
    tokens.command("list")(list_tokens)
    tokens.command("remove")(remove)
    app.add_typer(tokens, name="tokens")


def add(
    name: Annotated[str, typer.Argument(help="Whose token it is: a-z, 0-9, dot, dash and underscore.")],
    tokens: FileOption,
    scope: Scope,
    customer: Annotated[
        str | None, typer.Option("--customer", help="The only customer it may act for.")
    ] = None,
    days: Annotated[int | None, typer.Option("--days", min=1, help="Valid for so many days.")] = None,
    person: Annotated[
        bool,
        typer.Option("--person", help="Held by a person, who may approve in their host what they ask for."),
    ] = False,
) -> None:
    """Make a token: it is printed this once, the file keeps its hash."""
    token, sha256 = new_token()
    expires_at = datetime.now(UTC) + timedelta(days=days) if days is not None else None
    try:
        entry = Entry(
            principal=name,
            sha256=sha256,
            scopes=list(dict.fromkeys(scope)),
            customer_id=customer,
            expires_at=expires_at,
            person=person,
        )
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = "".join(f"{part}: " for part in first["loc"])
        raise TokenFileError(where + first["msg"].removeprefix("Value error, ")) from None
    add_entry(tokens, entry)
    typer.echo(token)
    typer.echo(f"added {_line(entry)}; the token above is not shown again", err=True)


def list_tokens(tokens: FileOption) -> None:
    """List the tokens of the file, by the beginnings of their hashes."""
    for entry in entries(tokens):
        typer.echo(_line(entry))


def remove(
    id: Annotated[str, typer.Argument(metavar="ID", help="How the token's id begins, as `list` shows it.")],
    tokens: FileOption,
) -> None:
    """Take a token away; it is refused from the next request on."""
    typer.echo(f"removed {_line(remove_entry(tokens, id))}")


def _line(entry: Entry) -> str:
    parts = [entry.sha256[:SHOWN], entry.principal, " ".join(entry.scopes) or "no scopes"]
    if entry.customer_id is not None:
        parts.append(f"only for {entry.customer_id}")
    if entry.expires_at is not None:
        over = "expired" if entry.expires_at <= datetime.now(UTC) else "until"
        parts.append(f"{over} {entry.expires_at:%Y-%m-%d %H:%M %Z}")
    if entry.person:
        parts.append("a person's")
    return "  ".join(parts)
