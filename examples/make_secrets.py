"""Make the secrets that compose.yaml mounts: a token for every way between two services, and one for you.

    python3 examples/make_secrets.py            writes ./secrets and prints your token for the service

Needs nothing but Python. What is there already stays; docs/containers.md tells how to rotate.
"""

from __future__ import annotations

import hashlib
import secrets
import sys
from pathlib import Path

SCOPES = {
    "customer-data": ["customer-data:read", "customer-data:write", "handoff", "staff"],
    "ticketing": ["ticketing:read", "ticketing:write", "handoff", "staff"],
    "billing": ["billing:read", "billing:refund", "handoff", "staff"],
    "knowledge-base": ["knowledge-base:read", "handoff", "staff"],
}
"""What the orchestrator may do at each server: whatever its agents need, and no approvals."""


def write(path: Path, text: str) -> None:
    # Containers run as another user, who has to read it; the folder keeps everybody else on this machine out.
    path.write_text(text, encoding="utf-8")
    path.chmod(0o644)


def table(principal: str, token: str, *more: str) -> str:
    digest = hashlib.sha256(token.encode()).hexdigest()
    return "\n".join(["[[tokens]]", f'principal = "{principal}"', f'sha256 = "{digest}"', *more]) + "\n"


def make(folder: Path) -> str | None:
    """Write what is missing; returns the token for the service if it is new."""
    folder.mkdir(mode=0o700, exist_ok=True)
    for server, scopes in SCOPES.items():
        if not (folder / f"{server}-tokens.toml").exists():
            token = secrets.token_urlsafe(32)
            allowed = ", ".join(f'"{scope}"' for scope in scopes)
            write(folder / f"{server}-tokens.toml", table("orchestrator", token, f"scopes = [{allowed}]"))
            write(folder / f"{server}-credential", token + "\n")
    if (folder / "service-tokens.toml").exists():
        return None
    own = secrets.token_urlsafe(32)
    write(folder / "service-tokens.toml", table("operator", own, "decides = true"))
    return own


def main() -> None:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "secrets")
    token = make(folder)
    print(f"your token, shown this once: {token}" if token else f"{folder} is complete already")


if __name__ == "__main__":
    main()
