"""Takes envelopes whose time is over."""

from __future__ import annotations

from handoff.envelope import HandoffEnvelope
from tests.handoff.broken.small import SmallHandoff, serve


class IgnoresTtl(SmallHandoff):
    def check_fresh(self, envelope: HandoffEnvelope) -> None:
        pass


if __name__ == "__main__":
    serve(IgnoresTtl)
