"""The options of a server's command that say who may reach it over HTTP."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

TOKENS_VARIABLE = "SWITCHBOARD_SERVER_TOKENS"

TokensOption = Annotated[
    Path | None,
    typer.Option("--tokens", envvar=TOKENS_VARIABLE, help="TOML file of bearer tokens' hashes and scopes."),
]
KeysOption = Annotated[
    str | None,
    typer.Option("--jwks", envvar="SWITCHBOARD_JWKS", help="URL or file of the keys of a JWT issuer."),
]
IssuerOption = Annotated[
    str | None, typer.Option("--issuer", envvar="SWITCHBOARD_ISSUER", help="Who must have issued a JWT.")
]
AudienceOption = Annotated[
    str | None,
    typer.Option(
        "--audience",
        envvar="SWITCHBOARD_AUDIENCE",
        help="For whom a JWT must be issued; the public URL by default.",
    ),
]
PublicUrlOption = Annotated[
    str | None,
    typer.Option(
        "--public-url", envvar="SWITCHBOARD_PUBLIC_URL", help="URL of /mcp as callers know it, if another."
    ),
]
HostsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--allowed-host",
        envvar="SWITCHBOARD_ALLOWED_HOSTS",
        help="Name under which callers may reach it, besides this machine's; repeatable.",
    ),
]
PaceOption = Annotated[
    int,
    typer.Option(
        "--requests-per-minute",
        envvar="SWITCHBOARD_SERVER_REQUESTS_PER_MINUTE",
        min=1,
        help="HTTP requests of one principal; more get 429.",
    ),
]
MostOption = Annotated[
    int,
    typer.Option(
        "--max-requests",
        envvar="SWITCHBOARD_MAX_REQUESTS",
        min=1,
        help="HTTP requests in work at once; more get 503.",
    ),
]


def host_names(given: Sequence[str] | None) -> tuple[str, ...]:
    """The names of repeated options, or of one variable that has commas between them."""
    return tuple(name.strip() for each in given or () for name in each.split(",") if name.strip())
