"""Places in a pattern's texts and arguments that are filled with the item or the request."""

from __future__ import annotations

import json
import re
from typing import Any

_PLACE = re.compile(r"\{(item|request)(?:\.([A-Za-z0-9_]+))?\}")


def filled(template: Any, *, request: str, item: Any = None) -> Any:
    """The template with `{request}`, `{item}` and `{item.field}` filled in, in every text it holds.

    A text that is one place and nothing else takes the value as it is, so numbers stay numbers. A field that
    the item does not have becomes null, or nothing within a text.
    """
    if isinstance(template, dict):
        return {key: filled(value, request=request, item=item) for key, value in template.items()}
    if isinstance(template, list | tuple):
        return [filled(value, request=request, item=item) for value in template]
    if not isinstance(template, str):
        return template
    if (whole := _PLACE.fullmatch(template)) is not None:
        return _value(whole, request, item)
    return _PLACE.sub(lambda place: _spelt(_value(place, request, item)), template)


def _value(place: re.Match[str], request: str, item: Any) -> Any:
    source, key = place.groups()
    value = request if source == "request" else item
    if key is None:
        return value
    return value.get(key) if isinstance(value, dict) else None


def _spelt(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
