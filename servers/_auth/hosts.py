"""By which names a server may be called: what keeps pages in a browser from reaching it through their own."""

from __future__ import annotations

import ipaddress
from contextlib import suppress
from urllib.parse import urlsplit

from mcp.server.transport_security import TransportSecuritySettings

from servers._auth.settings import AccessSettings

_THIS_MACHINE = ("127.0.0.1", "localhost", "[::1]")


def allowed_names(address: str, settings: AccessSettings) -> TransportSecuritySettings:
    """The check, always armed: this machine's names, the address itself, and those the operator gave."""
    names = dict.fromkeys(_THIS_MACHINE)
    if not _is_wildcard(address):
        names[f"[{address}]" if ":" in address else address] = None
    if settings.public_url:
        names[urlsplit(settings.public_url).netloc] = None
    names.update(dict.fromkeys(settings.allowed_hosts))
    with_ports = [pattern for name in names for pattern in (name, f"{name}:*")]
    origins = [f"{scheme}://{pattern}" for pattern in with_ports for scheme in ("http", "https")]
    return TransportSecuritySettings(
        enable_dns_rebinding_protection=True, allowed_hosts=with_ports, allowed_origins=origins
    )


def _is_wildcard(address: str) -> bool:
    with suppress(ValueError):
        return ipaddress.ip_address(address).is_unspecified
    return not address
