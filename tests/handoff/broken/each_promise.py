"""For each promise that shows without a crash, the small server with that promise broken."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from mcp.server.extension import ToolBinding
from mcp.types import CallToolResult

from handoff.envelope import HandoffEnvelope, check_fresh, parse_envelope
from handoff.errors import JsonObject, StructuredError
from tests.handoff.broken.ignores_target import IgnoresTarget
from tests.handoff.broken.ignores_ttl import IgnoresTtl
from tests.handoff.broken.no_dedup import NoDedup
from tests.handoff.broken.small import Ctx, SmallHandoff, answer


class LacksATool(SmallHandoff):
    def tools(self) -> Sequence[ToolBinding]:
        return super().tools()[:3]


class AdvertisesNoSize(SmallHandoff):
    def settings(self) -> dict[str, Any]:
        return {"schema_version": 1, "max_in_flight": 8}


class LeavesNextToolsOut(SmallHandoff):
    async def run_hint(self, envelope: HandoffEnvelope, ctx: Ctx) -> JsonObject:
        receipt = await super().run_hint(envelope, ctx)
        return {name: value for name, value in receipt.items() if name != "next_tools"}


class StoresWhatItRefuses(SmallHandoff):
    def check_target(self, envelope: HandoffEnvelope) -> None:
        try:
            super().check_target(envelope)
        except StructuredError:
            self.accept(envelope.idempotency_token, "")
            raise


class TakesLess(SmallHandoff):
    def parse(self, value: Any) -> HandoffEnvelope:
        return parse_envelope(value, max_bytes=65_535)


class TakesMore(SmallHandoff):
    def parse(self, value: Any) -> HandoffEnvelope:
        return parse_envelope(value, max_bytes=65_537)


class DropsUnknownFields(SmallHandoff):
    def parse(self, value: Any) -> HandoffEnvelope:
        known = {name: each for name, each in value.items() if name in HandoffEnvelope.model_fields}
        return parse_envelope(known)


class TakesAnyTimeToLive(SmallHandoff):
    def parse(self, value: Any) -> HandoffEnvelope:
        return parse_envelope({**value, "ttl_seconds": value.get("ttl_seconds") or 300})


class TakesChangesForItsOwn(SmallHandoff):
    def settings(self) -> dict[str, Any]:
        return {**super().settings()}


class AllowsNoSkew(SmallHandoff):
    def check_fresh(self, envelope: HandoffEnvelope) -> None:
        check_fresh(envelope, datetime.now(UTC), skew_seconds=0)


class ForgetsTheResult(SmallHandoff):
    def replay(self, receipt: JsonObject) -> JsonObject:
        return {**super().replay(receipt), "result": None}


class WorksOnReplay(SmallHandoff):
    async def admit(self, envelope: HandoffEnvelope, ctx: Ctx) -> JsonObject:
        receipt = await super().admit(envelope, ctx)
        if receipt["replayed"]:
            await self.run_hint(envelope, ctx)
        return receipt


class MindsSpelling(SmallHandoff):
    def parse(self, value: Any) -> HandoffEnvelope:
        self.spelt = json.dumps(value)
        return super().parse(value)

    def fingerprint(self, envelope: HandoffEnvelope) -> str:
        return self.spelt


class IgnoresHops(SmallHandoff):
    def fingerprint(self, envelope: HandoffEnvelope) -> str:
        return envelope.model_copy(update={"hops": ()}).fingerprint()


class RefusesLateReplays(SmallHandoff):
    async def admit(self, envelope: HandoffEnvelope, ctx: Ctx) -> JsonObject:
        self.check_fresh(envelope)
        return await super().admit(envelope, ctx)


class PrefersFlatKeys(SmallHandoff):
    def arguments(self, envelope: HandoffEnvelope, required: Sequence[str]) -> JsonObject:
        return {**super().arguments(envelope, required), **self.flat(envelope, required)}


class IgnoresTheCursor(SmallHandoff):
    def arguments(self, envelope: HandoffEnvelope, required: Sequence[str]) -> JsonObject:
        return super().arguments(envelope.model_copy(update={"continuation_token": None}), required)


class NamesNothingMissing(SmallHandoff):
    async def run_hint(self, envelope: HandoffEnvelope, ctx: Ctx) -> JsonObject:
        return {**await super().run_hint(envelope, ctx), "missing_arguments": []}


class ClearsOnAHint(SmallHandoff):
    def allows(self, tool: str) -> bool:
        return super().allows(tool) or tool == "clear_context"


class WorksForEachCaller(SmallHandoff):
    async def admit(self, envelope: HandoffEnvelope, ctx: Ctx) -> JsonObject:
        receipt = await super().admit(envelope, ctx)
        return await self.run_hint(envelope, ctx) if receipt["status"] == "processing" else receipt


class WorksWhileTheCallerWaits(SmallHandoff):
    async def start(self, envelope: HandoffEnvelope, ctx: Ctx) -> JsonObject:
        return await self.work(envelope, ctx)


class PreparesAnew(SmallHandoff):
    async def prepare_handoff(self, ctx: Ctx, **asked: Any) -> CallToolResult:  # type: ignore[override]
        result = await super().prepare_handoff(ctx, **asked)
        if result.is_error:
            return result
        envelope = result.structured_content["envelope"]
        return answer({"envelope": {**envelope, "handoff_id": str(uuid.uuid4())}})
