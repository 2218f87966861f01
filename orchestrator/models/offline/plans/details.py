"""Changing a customer's own details: exactly the value they wrote, or a question back."""

from __future__ import annotations

from orchestrator.models.offline.addresses import PostalAddress
from orchestrator.models.offline.changes import Change
from orchestrator.models.offline.conversation import Call, Outcome
from orchestrator.models.offline.intent import Task
from orchestrator.models.offline.plans.part import (
    GET_PROFILE,
    UPDATE_CUSTOMER,
    Case,
    Part,
    Plan,
    broken,
    forbids,
)
from orchestrator.models.offline.tables import table
from orchestrator.models.offline.wording import listed
from orchestrator.models.protocol import JsonObject

_NAMES = {"email": "e-mail address", "phone": "phone number", "address": "postal address", "name": "name",
          "company": "company name"}  # fmt: skip
_ADDRESS = "street and number, postcode, city and country"


def change_details(case: Case, task: Task) -> Plan:
    """Write the new values that are clear into the customer's record, and ask for the others."""
    if case.customer_id is None:
        return Part("Which account is it? Please give the e-mail address it is registered under now.", False)
    [read] = yield [Call(GET_PROFILE, {"customer_id": case.customer_id})]
    if not read.ok:
        if forbids(read):
            return Part("I can only change the details of your own account.", False)
        return broken(GET_PROFILE, read, "read your details")
    profile = read.content
    wanted: JsonObject = {}
    asks: list[str] = []
    for change in task.changes:
        value = _new_value(change, profile)
        if value is None or not _is_written(value, case, profile):
            asks.append(_question(change, profile))
        elif value != profile.get(change.field):
            wanted[change.field] = value
        else:
            asks.append(f"Your {_NAMES[change.field]} is {_shown(value)} already; what shall the new one be?")
    if not wanted:
        return Part(" ".join(asks) or "What shall I change? Please write the new value.", False)
    # No expected_version: a change somebody else makes at the same moment is to other fields or is older.
    [done] = yield [Call(UPDATE_CUSTOMER, {"customer_id": case.customer_id, **wanted})]
    return _answer(wanted, profile, done, asks)


def _answer(wanted: JsonObject, profile: JsonObject, done: Outcome, asks: list[str]) -> Part:
    names = listed(_NAMES[field] for field in wanted)
    if not done.ok:
        if done.code in ("conflict", "invalid_argument", "invalid_arguments", "validation_error"):
            hint = done.content.get("message") or "the new value was not accepted"
            return Part(f"I could not change your {names}: {hint}.", False)
        if forbids(done):
            return Part("I can only change the details of your own account.", False)
        return broken(UPDATE_CUSTOMER, done, f"change your {names}")
    said = [f"Your {_NAMES[field]} is now {_shown(value)}." for field, value in wanted.items()]
    if "address" in wanted and not profile.get("address"):
        said.append("If the country is not right, please tell me.")
    if "email" in wanted and profile.get("email"):
        said.append(f"It was {profile['email']} before.")
    return Part(" ".join([*said, *asks]))


def _new_value(change: Change, profile: JsonObject) -> str | JsonObject | None:
    """The value to write, in the form the record has it; None when the words do not settle it."""
    if isinstance(change.value, PostalAddress):
        return _address(change.value, profile)
    if change.field == "name" and change.value and " " not in change.value:
        return _with_first_name(change.value, str(profile.get("name") or ""))
    if change.value is None and len(change.candidates) == 2:
        current = str(profile.get("email") or "").casefold()
        left = [one for one in change.candidates if one.casefold() != current]
        return left[0] if len(left) == 1 else None
    return change.value


def _address(value: PostalAddress, profile: JsonObject) -> JsonObject | None:
    """The address with its country: the one written, else the one on record if the form fits it."""
    known = profile.get("address")
    country = value.country or (_same_country(value, known) if isinstance(known, dict) else None)
    if not country:
        return None
    return {"line1": value.line1, "city": value.city, "postcode": value.postcode, "country": country}


def _same_country(value: PostalAddress, known: JsonObject) -> str | None:
    """The country on record, unless the new address is of a form that is not used there."""
    country, postcode = str(known.get("country") or ""), str(known.get("postcode") or "")
    alike = [_shape(postcode) == _shape(value.postcode or "")]
    alike.append(value.postcode_first != (country in table("places")["postcode_last"].split()))
    return country if country and all(alike) else None


def _shape(postcode: str) -> str:
    """`20457` and `10115` have one shape, `LS1 4AP` another."""
    return "".join("9" if one.isdigit() else "a" if one.isalpha() else "" for one in postcode)


def _with_first_name(name: str, present: str) -> str | None:
    """A single new word is the new last name."""
    first = present.rpartition(" ")[0]
    return f"{first} {name}" if first and name.casefold() not in present.casefold().split() else None


def _is_written(value: str | JsonObject, case: Case, profile: JsonObject) -> bool:
    """Whether the new value stands in the customer's own words; the last gate before a change."""
    text = " ".join(case.conversation.request.casefold().split())
    if isinstance(value, dict):
        parts = [value["line1"], value["city"], value.get("postcode") or ""]
        words = " ".join(parts).casefold().replace(",", " ").split()
        return all(word in text for word in words)
    new = value.removeprefix(str(profile.get("name") or "").rpartition(" ")[0]).strip() or value
    return " ".join(new.casefold().split()) in text


def _question(change: Change, profile: JsonObject) -> str:
    if isinstance(change.value, PostalAddress):
        return f"In which country is {change.value.city}? Then I can change the address."
    if change.field == "address":
        return f"What is the complete new address ({_ADDRESS})?"
    if change.candidates:
        return f"Which of the two addresses shall be the new one: {listed(change.candidates)}?"
    present = profile.get(change.field)
    now = f" It is {present} now." if isinstance(present, str) and change.field != "email" else ""
    return f"What shall the new {_NAMES[change.field]} be?{now}"


def _shown(value: str | JsonObject) -> str:
    if isinstance(value, str):
        return value
    parts = [value["line1"], f"{value.get('postcode') or ''} {value['city']}".strip(), value["country"]]
    return ", ".join(parts)
