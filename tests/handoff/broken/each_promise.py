"""For each promise that shows without a crash, the small server with that promise broken."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from mcp.server.extension import ToolBinding
from mcp.types import CallToolResult, TextContent

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
    def prepared(self, token: str) -> JsonObject | None:
        return None


class SignsAndNeverChecks(SmallHandoff):
    def sealed(self, envelope: JsonObject) -> JsonObject:
        return {**envelope, "signature": f"v1:key:{'A' * 43}"}


class MixesSessions(SmallHandoff):
    def session(self, session_id: str) -> str:
        return ""


class RepeatsValues(SmallHandoff):
    def parse(self, value: Any) -> HandoffEnvelope:
        try:
            return super().parse(value)
        except StructuredError as error:
            error.message += f", not {value}"
            raise


class NamesNoServer(SmallHandoff):
    def refusal(self, error: StructuredError) -> CallToolResult:
        return answer(error.to_json()).model_copy(update={"is_error": True})


class RefusesInProse(SmallHandoff):
    def refusal(self, error: StructuredError) -> CallToolResult:
        return CallToolResult(content=[TextContent(type="text", text=error.message)], is_error=True)


BREAKS: dict[str, tuple[type[SmallHandoff], ...]] = {
    "H-TOOLS": (LacksATool,),
    "H-SETTINGS": (AdvertisesNoSize,),
    "H-RECEIPT": (LeavesNextToolsOut,),
    "H-TARGET": (IgnoresTarget, StoresWhatItRefuses),
    "H-SIZE-ACCEPTED": (TakesLess,),
    "H-SIZE-REFUSED": (TakesMore,),
    "H-UNKNOWN-FIELD": (DropsUnknownFields,),
    "H-MALFORMED": (TakesAnyTimeToLive,),
    "H-TTL": (IgnoresTtl,),
    "H-CLOCK-SKEW": (AllowsNoSkew,),
    "H-REPLAY": (NoDedup, ForgetsTheResult, WorksOnReplay),
    "H-SPELLING": (MindsSpelling,),
    "H-CONFLICT": (IgnoresHops,),
    "H-REDELIVER-AFTER-TTL": (RefusesLateReplays,),
    "H-HINT-ARGUMENTS": (PrefersFlatKeys,),
    "H-CURSOR": (IgnoresTheCursor,),
    "H-MISSING-ARGUMENTS": (NamesNothingMissing,),
    "H-HINT-DESTRUCTIVE": (ClearsOnAHint,),
    "H-IN-FLIGHT": (WorksForEachCaller,),
    "H-CALLER-GONE": (WorksWhileTheCallerWaits,),
    "H-PREPARE": (PreparesAnew,),
    "H-SIGNATURE": (SignsAndNeverChecks,),
    "H-CONTEXT": (MixesSessions,),
    "H-ERRORS": (RepeatsValues, NamesNoServer, RefusesInProse),
}
