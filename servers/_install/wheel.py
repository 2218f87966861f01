"""The wheel of this distribution, made from what is installed here: no build tool and no network."""

from __future__ import annotations

import base64
import hashlib
import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path

from handoff.errors import StructuredError
from servers._hosting.server import DISTRIBUTION

PACKAGES = ("handoff", "servers", "orchestrator")
"""The import packages of the distribution; in a development tree nothing else lists their files."""

_LEFT_BEHIND = {"INSTALLER", "RECORD", "REQUESTED", "WHEEL", "direct_url.json"}
"""What an installer wrote about this machine, or what is written anew."""

_WHEEL = """Wheel-Version: 1.0
Generator: switchboard
Root-Is-Purelib: true
Tag: py3-none-any
"""
_EPOCH = (1980, 1, 1, 0, 0, 0)


class NotInstalledError(StructuredError):
    """The distribution is not installed, so that there is nothing to pack."""

    code = "not_installed"


@dataclass(frozen=True, slots=True)
class Wheel:
    """A wheel file."""

    name: str
    version: str
    content: bytes


def build_wheel() -> Wheel:
    """The wheel; the same installation gives the same bytes. Raises: NotInstalledError."""
    found = installed()
    stem = f"{DISTRIBUTION.replace('-', '_')}-{found.version}"
    records = f"{stem}.dist-info"
    files = {**_package_files(), **_metadata_files(found, records), f"{records}/WHEEL": _WHEEL.encode()}
    listed = "".join(f"{name},{_digest(files[name])},{len(files[name])}\n" for name in sorted(files))
    files[f"{records}/RECORD"] = f"{listed}{records}/RECORD,,\n".encode()
    return Wheel(f"{stem}-py3-none-any.whl", found.version, archive(files))


def installed() -> Distribution:
    """This distribution as it is installed. Raises: NotInstalledError."""
    try:
        return distribution(DISTRIBUTION)
    except PackageNotFoundError as error:
        raise NotInstalledError(
            f"{DISTRIBUTION} runs from a source tree and is not installed",
            suggestion="install it with `pip install .`, then repeat this",
        ) from error


def archive(files: Mapping[str, bytes]) -> bytes:
    """A zip archive whose bytes depend on nothing but the files."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as zipped:
        for name in sorted(files):
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.create_system = 3
            entry.external_attr = 0o100644 << 16
            zipped.writestr(entry, files[name])
    return buffer.getvalue()


def _package_files() -> dict[str, bytes]:
    found = {}
    for package in PACKAGES:
        spec = find_spec(package)
        for root in map(Path, (spec and spec.submodule_search_locations) or ()):
            for path in sorted(root.rglob("*")):
                parts = path.relative_to(root).parts
                if path.is_file() and not any(part == "__pycache__" or part[0] == "." for part in parts):
                    found["/".join((package, *parts))] = path.read_bytes()
    return found


def _metadata_files(found: Distribution, records: str) -> dict[str, bytes]:
    """What the build wrote about the distribution: its metadata, its scripts, its licence."""
    files = {}
    for file in found.files or ():
        if file.parts[0].endswith(".dist-info") and file.name not in _LEFT_BEHIND:
            files["/".join((records, *file.parts[1:]))] = Path(str(file.locate())).read_bytes()
    return files


def _digest(content: bytes) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest())
    return f"sha256={digest.decode().rstrip('=')}"
