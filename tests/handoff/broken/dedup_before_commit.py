"""Takes a token for done as soon as it is accepted: a crash before the work is over loses the work."""

from __future__ import annotations

import json

from handoff.envelope import HandoffEnvelope
from handoff.errors import JsonObject
from tests.handoff.broken.small import Ctx, SmallHandoff, processing, receipt_of, serve


class DedupBeforeCommit(SmallHandoff):
    async def admit(self, envelope: HandoffEnvelope, ctx: Ctx) -> JsonObject:
        if envelope.idempotency_token in self.runs:
            return processing(envelope)
        return await super().admit(envelope, ctx)

    async def work(self, envelope: HandoffEnvelope, ctx: Ctx) -> JsonObject:
        done = json.dumps(receipt_of(envelope, "completed"))
        self.db.execute("update received set receipt = ? where token = ?", (done, envelope.idempotency_token))
        return await super().work(envelope, ctx)


if __name__ == "__main__":
    serve(DedupBeforeCommit)
