"""Rows of a CSV or JSONL file, one at a time, each with its line and what is wrong with it.

A problem names the field and the reason and never the value: reports get mailed around, and the file
holds people's data.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Generic, TypeVar

from pydantic import BaseModel, ValidationError

from handoff.errors import JsonObject
from servers._loading.columns import Columns, read_header, refused_file

M = TypeVar("M", bound=BaseModel)

MAX_LINE_BYTES = 1_048_576
_REASONS = 3
"""How many of a row's problems are told; whoever puts those right comes back anyway."""
_FIELD_NAME = re.compile(r"[A-Za-z_][\w-]{0,63}")
_TOO_LONG = "\ud800\n"
"""Stands for a line over the limit: a lone surrogate, which no decoded text holds."""
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")


@dataclass(frozen=True, slots=True)
class Row(Generic[M]):
    """One row: its `value`, or the `problem` with it."""

    line: int
    """Where the row begins in the file, from 1."""
    value: M | None
    problem: str = ""


def read_rows(path: Path, model: type[M]) -> Generator[Row[M], None, None]:
    """The rows of a file, read as they are asked for.

    Raises: InvalidError when the file as a whole cannot be read.
    """
    kind = path.suffix.lower()
    if kind not in (".csv", ".jsonl", ".ndjson"):
        raise refused_file("must end in .csv or .jsonl", "export the data as CSV (UTF-8) or as JSON Lines")
    try:
        with path.open("rb") as file:
            lines = _lines(file)
            rows = _csv_rows(lines, model) if kind == ".csv" else _json_rows(lines, model)
            first = next(rows, None)
            if first is None:
                raise refused_file("has no rows", "check that it is the file you meant")
            yield first
            yield from rows
    except OSError as error:
        reason = error.strerror or "input/output error"
        raise refused_file(f"cannot be read: {reason}", "check the path and its permissions") from None


def _lines(file: IO[bytes]) -> Iterator[str]:
    """The lines of a file; bytes that are not UTF-8 become surrogates, to be refused row by row."""
    encoding = "utf-8-sig"
    while line := file.readline(MAX_LINE_BYTES + 1):
        if line.startswith(_UTF16_MARKS):
            raise refused_file("is not UTF-8 text", "save it with the encoding UTF-8")
        if len(line) > MAX_LINE_BYTES:
            while line and not line.endswith(b"\n"):
                line = file.readline(MAX_LINE_BYTES)
            yield _TOO_LONG
        else:
            yield line.decode(encoding, "surrogateescape")
        encoding = "utf-8"


def _json_rows(lines: Iterator[str], model: type[M]) -> Iterator[Row[M]]:
    for number, text in enumerate(lines, 1):
        if text.strip():
            problem = _text_problem(text)
            yield Row(number, None, problem) if problem else _checked(number, model, text)


def _csv_rows(lines: Iterator[str], model: type[M]) -> Iterator[Row[M]]:
    header = next(lines, "")
    if not header.strip():
        raise refused_file("has no header in line 1", "name the columns in the first line")
    columns = read_header(header, model)
    reader = csv.reader(lines, delimiter=columns.delimiter, strict=True)
    while True:
        line = reader.line_num + 2  # after the lines read so far comes the next, and the header was one
        try:
            cells = next(reader, None)
        except csv.Error:
            yield Row(line, None, "the row's quotes do not match, or a value in it is far too long")
            continue
        if cells is None:
            return
        if any(cell.strip() for cell in cells):
            yield _csv_row(line, cells, columns, model)


def _csv_row(line: int, cells: list[str], columns: Columns, model: type[M]) -> Row[M]:
    if problem := _text_problem("".join(cells)):
        return Row(line, None, problem)
    if len(cells) != len(columns.names):
        return Row(line, None, f"the row has {len(cells)} values, the header has {len(columns.names)}")
    return _checked(line, model, columns.nested(cells))


def _text_problem(text: str) -> str:
    if _TOO_LONG[0] in text:
        return f"a line of the row is longer than {MAX_LINE_BYTES:,} bytes"
    if not text.isascii() and any("\ud800" <= letter <= "\udfff" for letter in text):
        return "the row is not UTF-8 text"
    return ""


def _checked(line: int, model: type[M], row: str | JsonObject) -> Row[M]:
    try:
        value = model.model_validate_json(row) if isinstance(row, str) else model.model_validate(row)
    except ValidationError as error:
        return Row(line, None, _reasons(error))
    return Row(line, value)


def _reasons(error: ValidationError) -> str:
    problems = error.errors(include_input=False, include_url=False)
    told = [f"{_place(problem['loc'])}{problem['msg']}" for problem in problems[:_REASONS]]
    rest = len(problems) - len(told)
    return "; ".join(told) + (f"; and {rest} more" if rest else "")


def _place(loc: tuple[int | str, ...]) -> str:
    """Where in the row; a name that no field could have is the file's content and stays out."""
    parts = [part if _FIELD_NAME.fullmatch(part) or part.isdigit() else "?" for part in map(str, loc)]
    return ".".join(parts) + ": " if parts else ""
