"""A member put into a JSON text and taken out again, without touching the rest."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from servers._json_text import with_member, without_member

names = st.text(min_size=1, max_size=5)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | names,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None)
@given(
    others=st.dictionaries(names, values, max_size=4),
    entries=st.dictionaries(names, values, max_size=3),
    indent=st.sampled_from([None, 0, 1, 2, 4, "\t"]),
    escaped=st.booleans(),
)
def test_a_member_comes_and_goes_in_any_object(
    others: dict[str, Any], entries: dict[str, Any], indent: int | str | None, escaped: bool
) -> None:
    content = {**others, "mcpServers": entries}
    text = json.dumps(content, indent=indent, ensure_ascii=escaped)
    added = with_member(text, ("mcpServers", "ours-alone"), {"args": ["a"]})
    removed = without_member(added, ("mcpServers", "ours-alone"))

    assert json.loads(added) == {**content, "mcpServers": {**entries, "ours-alone": {"args": ["a"]}}}
    assert list(json.loads(added)) == list(content)
    assert json.loads(removed) == content
    if entries:
        assert removed == text
