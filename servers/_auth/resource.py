"""How a server tells what it is and what it wants: RFC 9728 metadata, and the challenges of a refusal."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers

from handoff.errors import JsonObject
from servers._auth.scopes import Scopes
from servers._auth.settings import AccessSettings

MCP_PATH = "/mcp"
WELL_KNOWN = "/.well-known/oauth-protected-resource"


class Resource:
    """A server as what tokens are made for."""

    def __init__(self, title: str, scopes: Scopes, settings: AccessSettings) -> None:
        self._title = title
        self._scopes = scopes
        self._settings = settings
        path = urlsplit(settings.public_url).path if settings.public_url else MCP_PATH
        self.metadata_paths = tuple(dict.fromkeys([WELL_KNOWN + path.rstrip("/"), WELL_KNOWN + MCP_PATH]))
        """Where the metadata are served: under the public path, and under our own."""

    def metadata(self, scheme: str, headers: Headers) -> JsonObject:
        """The document; only what needs a person is not advertised, since programs ask for all they see."""
        found: JsonObject = {
            "resource": self._url(scheme, headers),
            "resource_name": self._title,
            "scopes_supported": sorted(self._scopes.every - self._scopes.of_people),
            "bearer_methods_supported": ["header"],
        }
        if self._settings.issuer is not None:
            found["authorization_servers"] = [self._settings.issuer]
        return found

    def challenge(
        self,
        scheme: str,
        headers: Headers,
        *,
        scopes: Iterable[str] = (),
        error: str | None = None,
    ) -> dict[str, str]:
        """The header of a 401 or a 403."""
        url = urlsplit(self._url(scheme, headers))
        parts = {
            "realm": "switchboard",
            "error": error,
            "scope": " ".join(scopes) or self._scopes.reading,
            "resource_metadata": f"{url.scheme}://{url.netloc}{self.metadata_paths[0]}",
        }
        told = ", ".join(f'{name}="{value}"' for name, value in parts.items() if value)
        return {"www-authenticate": f"Bearer {told}"}

    def _url(self, scheme: str, headers: Headers) -> str:
        # The host was compared with the names that are ours before anything is said of it.
        return self._settings.public_url or f"{scheme}://{headers.get('host', '')}{MCP_PATH}"
