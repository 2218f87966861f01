"""A script of model replies: the file's shape, and the values it takes from the conversation."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from orchestrator.models.marking import unmarked
from orchestrator.models.protocol import Fault, JsonObject, ModelChoiceError, Stop

_PLACE = re.compile(r"\$\{([^{}]*)\}")
_CONTEXT = re.compile(r"<context>\n(.*)\n</context>", re.DOTALL)


class ScriptError(ModelChoiceError):
    """The script cannot be used; the message is one line that names the file and the entry."""


class MissingValueError(Exception):
    """A template asks for something the conversation does not hold."""


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class When(_Entry):
    """Conditions on the last message; an entry that does not meet them is passed over."""

    contains: str
    """Text that the message holds, in its texts or its tool results; upper and lower case are the same."""


class ScriptedCall(_Entry):
    name: Annotated[str, Field(min_length=1)]
    input: JsonObject = {}
    """May hold `${results.<tool>.<path>}` and `${context.<path>}`; see `filled`."""


class ScriptedFailure(_Entry):
    fault: Fault
    message: str = "the script says so"


class ScriptedReply(_Entry):
    """One reply: text, tool calls, or a failure."""

    agent: str | None = None
    """Whose turn it is; without it, anybody's."""
    when: When | None = None
    text: str = ""
    tools: tuple[ScriptedCall, ...] = ()
    stop: Stop | None = None
    """Default: `tool_use` with tools, else `end_turn`."""
    error: ScriptedFailure | None = None

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not (self.text or self.tools or self.stop or self.error):
            raise ValueError("it says nothing: give text, tools, stop or error")
        return self


class Script(_Entry):
    replies: tuple[ScriptedReply, ...]


def load_script(path: Path) -> Script:
    """Read a script. Raises: ScriptError."""
    try:
        return Script.model_validate(json.loads(path.read_text("utf-8")))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise ScriptError(f"cannot read the script {path}: {reason}") from error
    except json.JSONDecodeError as error:
        raise ScriptError(f"{path} is not JSON: line {error.lineno}: {error.msg}") from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        reason = first["msg"].removeprefix("Value error, ")
        raise ScriptError(f"{path}: {_place(first['loc'])}: {reason}") from error


def filled(value: Any, messages: list[JsonObject]) -> Any:
    """A copy with each `${...}` replaced by what the conversation holds there.

    `${results.<tool>.<path>}` reads the latest result of that tool, `${context.<path>}` the context the
    agent began with. A text that is one template and nothing else takes the value with its type.
    Raises: MissingValueError.
    """
    if isinstance(value, dict):
        return {name: filled(member, messages) for name, member in value.items()}
    if isinstance(value, list):
        return [filled(member, messages) for member in value]
    if not isinstance(value, str):
        return value
    if whole := _PLACE.fullmatch(value):
        return _looked_up(whole[1], messages)
    return filled_text(value, messages)


def filled_text(text: str, messages: list[JsonObject]) -> str:
    """The same for a text that stays one. Raises: MissingValueError."""
    return _PLACE.sub(lambda place: _spelled(_looked_up(place[1], messages)), text)


def texts_of(message: JsonObject) -> list[str]:
    """Every text of a message, those inside tool results included."""
    content = message["content"]
    if isinstance(content, str):
        return [content]
    nested = [texts_of(block) for block in content if block["type"] == "tool_result" and block.get("content")]
    own = [block["text"] for block in content if block["type"] == "text"]
    return own + [text for texts in nested for text in texts]


def _looked_up(place: str, messages: list[JsonObject]) -> Any:
    source, _, path = place.partition(".")
    if source == "results":
        tool, _, path = path.partition(".")
        found = _latest_result(tool, messages)
    elif source == "context":
        found = _context(messages)
    else:
        raise MissingValueError(f"${{{place}}} must begin with results or context")
    for step in path.split(".") if path else []:
        found = _member(found, step, place)
    return found


def _member(value: Any, step: str, place: str) -> Any:
    if isinstance(value, dict) and step in value:
        return value[step]
    if isinstance(value, list) and step.isdecimal() and int(step) < len(value):
        return value[int(step)]
    raise MissingValueError(f"${{{place}}}: there is no {step}")


def _latest_result(tool: str, messages: list[JsonObject]) -> Any:
    calls = {
        block["id"]: block["name"]
        for message in messages
        if isinstance(message["content"], list)
        for block in message["content"]
        if block["type"] == "tool_use"
    }
    for message in reversed(messages):
        for block in reversed(message["content"] if isinstance(message["content"], list) else []):
            if block["type"] == "tool_result" and calls.get(block["tool_use_id"]) == tool:
                return _parsed(unmarked("".join(texts_of(block))))
    raise MissingValueError(f"${{results.{tool}}}: that tool has no result in this conversation")


def _context(messages: list[JsonObject]) -> Any:
    found = _CONTEXT.fullmatch(texts_of(messages[0])[0])
    if found is None:
        raise MissingValueError("${context}: the first message has no context")
    return _parsed(found[1])


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _spelled(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _place(location: tuple[int | str, ...]) -> str:
    """`replies[3].tools[0].name`, the entries counted as JSON counts them."""
    parts = [f"[{step}]" if isinstance(step, int) else f".{step}" for step in location]
    return "".join(parts).removeprefix(".") or "the script"
