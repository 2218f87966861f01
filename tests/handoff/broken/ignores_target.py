"""Takes envelopes that are for other servers."""

from __future__ import annotations

from handoff.envelope import HandoffEnvelope
from tests.handoff.broken.small import SmallHandoff, serve


class IgnoresTarget(SmallHandoff):
    def check_target(self, envelope: HandoffEnvelope) -> None:
        pass


if __name__ == "__main__":
    serve(IgnoresTarget)
