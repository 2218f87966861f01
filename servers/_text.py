"""Text as people and models write it: what is tidied, and what is refused with a reason."""

from __future__ import annotations

import itertools
import unicodedata
from collections.abc import Iterable
from typing import Annotated

from pydantic import AfterValidator, BaseModel, Field
from pydantic_core import PydanticCustomError

_BIDI = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Overrides of the writing direction: in a one-line value they only serve to disguise it."""


def one_line(value: str) -> str:
    """Trim a value that people see on one line, such as a name.

    Raises: PydanticCustomError for control characters and for nothing but white space.
    """
    tidy = unicodedata.normalize("NFC", value).strip()
    if not tidy:
        raise PydanticCustomError("blank", "must not be blank")
    if any(unicodedata.category(letter) == "Cc" or letter in _BIDI for letter in tidy):
        raise PydanticCustomError("control_character", "must be one line without control characters")
    return tidy


def prose(value: str) -> str:
    """Free text: line ends are made alike, control characters are dropped, the rest stays as written.

    Nothing but the characters no reader sees is refused here: a complaint must not bounce because of
    how it was pasted.
    """
    lines = value.replace("\r\n", "\n").replace("\r", "\n")
    tidy = "".join(letter for letter in lines if letter in "\n\t" or unicodedata.category(letter) != "Cc")
    if not tidy.strip():
        raise PydanticCustomError("blank", "must not be blank")
    return tidy.strip()


def bare_words(query: str, most: int) -> list[str]:
    """The first words of a query without the punctuation around them: what may be an id or an address."""
    return [word.strip("<>()[]{},;:.!?'\"#") for word in query.split(maxsplit=most)[:most]]


def fitting(models: Iterable[BaseModel], most_bytes: int) -> int:
    """How many of `models`, from the first on, are together no longer than that as JSON."""
    sizes = (len(model.model_dump_json().encode()) + 1 for model in models)
    return sum(1 for total in itertools.accumulate(sizes) if total <= most_bytes)


ShortText = Annotated[str, Field(max_length=120), AfterValidator(one_line)]
RecordId = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$")]
"""An id as records keep it: safe in keys, in URLs and in file names."""

AskedId = Annotated[str, Field(min_length=1, max_length=64)]
"""An id as a caller gives it: one that no record can have is simply not found."""
