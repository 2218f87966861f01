"""The promises of the extension that can be seen from outside, as data."""

from __future__ import annotations

from handoff.check import crashes, hinting, offers, refusals, tokens
from handoff.check.verdicts import Promise

PROMISES: tuple[Promise, ...] = (
    Promise("H-TOOLS", "The server lists the extension's four tools as the contract has them.", offers.tools),
    Promise("H-SETTINGS", "It advertises schema_version, max_bytes and max_in_flight.", offers.settings),
    Promise("H-RECEIPT", "A valid envelope is answered with a whole receipt.", offers.receipt_form),
    Promise("H-TARGET", "An envelope for another server is refused and not stored.", refusals.wrong_target),
    Promise("H-SIZE-ACCEPTED", "An envelope of max_bytes bytes is accepted.", refusals.largest_size),
    Promise("H-SIZE-REFUSED", "One of one byte more is refused and not stored.", refusals.excess_size),
    Promise(
        "H-UNKNOWN-FIELD",
        "An envelope with an unknown field is refused and not stored.",
        refusals.unknown_field,
    ),
    Promise("H-MALFORMED", "A malformed envelope is refused and not stored.", refusals.malformed),
    Promise("H-TTL", "An envelope past its time to live is refused if its token is unknown.", refusals.stale),
    Promise(
        "H-CLOCK-SKEW",
        "Clocks may differ: half a minute is allowed, one and a half is not.",
        refusals.clock_skew,
        needs=("H-TTL",),
    ),
    Promise(
        "H-REPLAY", "A known envelope answers its stored result, byte for byte, with no work.", tokens.replay
    ),
    Promise(
        "H-SPELLING",
        "Key order, whitespace and spelt-out defaults do not make another envelope.",
        tokens.spelling,
        needs=("H-REPLAY",),
    ),
    Promise(
        "H-CONFLICT",
        "A known token with any other field is a conflict, and nothing is done.",
        tokens.conflict,
        needs=("H-REPLAY",),
    ),
    Promise(
        "H-HINT-ARGUMENTS",
        "A hinted tool runs as if called, with the arguments of the context.",
        hinting.arguments,
    ),
    Promise("H-CURSOR", "The continuation_token becomes the hinted tool's cursor.", hinting.cursor),
    Promise(
        "H-MISSING-ARGUMENTS",
        "A hint without required arguments is accepted, and they are named.",
        hinting.missing_arguments,
    ),
    Promise(
        "H-HINT-DESTRUCTIVE",
        "Destructive tools and the extension's own never run from a hint.",
        hinting.never_from_a_hint,
    ),
    Promise(
        "H-IN-FLIGHT",
        "Deliveries at once do the work once; the others are told that it is in work, or its result.",
        tokens.in_flight,
        needs=("H-REPLAY",),
    ),
    Promise(
        "H-CALLER-GONE",
        "The work outlives a caller that gives up, and is not repeated for it.",
        tokens.caller_gone,
        needs=("H-REPLAY", "H-HINT-ARGUMENTS"),
    ),
    Promise("H-PREPARE", "One token prepares one envelope, valid and as asked for.", offers.prepare),
    Promise(
        "H-SIGNATURE",
        "A signed envelope that was changed is refused and not stored.",
        refusals.bad_signature,
        needs=("H-PREPARE",),
    ),
    Promise(
        "H-CONTEXT", "Calls are noted in their session, and only there, until it is cleared.", offers.context
    ),
    Promise(
        "H-ERRORS",
        "Each refusal is a structured tool error that names field and server and repeats no value.",
        refusals.structured,
    ),
    Promise(
        "H-REDELIVER-AFTER-TTL",
        "A finished handoff answers its stored result also after its time to live.",
        tokens.after_ttl,
        needs=("H-REPLAY",),
    ),
    Promise(
        "H-DURABLE",
        "What was answered is still known after kill -9 and restart.",
        crashes.durable,
        needs=("H-REPLAY",),
    ),
    Promise(
        "H-PREPARE-DURABLE",
        "A prepared envelope is still known after kill -9 and restart.",
        crashes.durable_envelope,
        needs=("H-PREPARE",),
    ),
    Promise(
        "H-WORK-KEPT",
        "A handoff whose worker is killed is never told to be done when it is not.",
        crashes.work_kept,
        needs=("H-DURABLE", "H-HINT-ARGUMENTS"),
    ),
    Promise(
        "H-TAKEOVER",
        "A handoff whose worker is killed in work is finished by a redelivery, in bounded time.",
        crashes.takeover,
        needs=("H-WORK-KEPT",),
    ),
)
