"""The header of a CSV file: which column holds which field."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import UnionType
from typing import Annotated, Union, get_args, get_origin

from pydantic import BaseModel

from handoff.errors import JsonObject
from servers._results import InvalidError

_DELIMITERS = ",;\t"


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns of one file, in order; a field of a nested model is written `address.city`."""

    names: tuple[str, ...]
    delimiter: str

    def nested(self, cells: Sequence[str]) -> JsonObject:
        """The row as its model wants it; an empty cell is a field left out."""
        row: JsonObject = {}
        for name, cell in zip(self.names, cells, strict=True):
            if cell.strip():
                outer, _, inner = name.rpartition(".")
                (row.setdefault(outer, {}) if outer else row)[inner] = cell.strip()
        return row


def read_header(line: str, model: type[BaseModel]) -> Columns:
    """Raises: InvalidError when the columns are not the model's."""
    delimiter = max(_DELIMITERS, key=line.count)
    try:
        cells = next(csv.reader([line], delimiter=delimiter, strict=True))
    except csv.Error:
        cells = []
    names = tuple(cell.strip().lower().replace(" ", "_") for cell in cells)
    known = dict(_known(model))
    problems = []
    if unknown := [str(at) for at, name in enumerate(names, 1) if name not in known]:
        problems.append(f"column {', '.join(unknown[:5])} not known")
    if len(set(names)) < len(names):
        problems.append("a column named twice")
    if missing := [name for name, is_required in known.items() if is_required and name not in names]:
        problems.append(f"missing {', '.join(missing)}")
    if problems:
        raise refused_file(
            f"does not begin with the expected header: {'; '.join(problems)}",
            f"name the columns in line 1; known are {', '.join(known)}",
        )
    return Columns(names, delimiter)


def refused_file(problem: str, suggestion: str) -> InvalidError:
    return InvalidError(f"the file {problem}", field="file", suggestion=suggestion)


def _known(model: type[BaseModel], prefix: str = "", required: bool = True) -> Iterator[tuple[str, bool]]:
    """Each column a model can have, and whether it must be there; a list does not fit into a cell."""
    for name, field in model.model_fields.items():
        inner = [_plain(part) for part in _alternatives(field.annotation)]
        needed = required and field.is_required()
        models = [part for part in inner if isinstance(part, type) and issubclass(part, BaseModel)]
        if models:
            yield from _known(models[0], f"{prefix}{name}.", needed)
        elif not any(get_origin(part) in (list, tuple, dict, set, frozenset) for part in inner):
            yield f"{prefix}{name}", needed


def _alternatives(annotation: object) -> tuple[object, ...]:
    plain = _plain(annotation)
    return get_args(plain) if get_origin(plain) in (Union, UnionType) else (plain,)


def _plain(annotation: object) -> object:
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation
