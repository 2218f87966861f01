"""`switchboard` with a defect: `ask` crashes and quotes what it was asked."""

from __future__ import annotations

from typing import Any

import orchestrator.asking
from orchestrator.cli import main
from tests.security.planted import switched


async def ask_once(text: str, **options: Any) -> None:
    raise RuntimeError(f"cannot ask {text} at {options}")


if __name__ == "__main__":
    switched()
    orchestrator.asking.ask_once = ask_once  # type: ignore[assignment] # the defect
    main()
