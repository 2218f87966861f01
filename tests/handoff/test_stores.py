"""Which store a URL opens."""

from __future__ import annotations

from pathlib import Path

import pytest

from handoff.errors import StoreMismatchError, StructuredError
from handoff.sqlite.store import SqliteStore
from handoff.stores import open_store


async def opened_file(url: str, namespace: str = "billing") -> Path:
    store = await open_store(url, namespace=namespace)
    await store.close()
    assert isinstance(store, SqliteStore)
    return store.path.absolute()


async def test_three_slashes_name_a_relative_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert await opened_file("sqlite:///data/file.db") == tmp_path / "data" / "file.db"


async def test_four_slashes_name_an_absolute_file(tmp_path: Path) -> None:
    assert await opened_file(f"sqlite:///{tmp_path}/my file #1%20?.db") == tmp_path / "my file #1%20?.db"


async def test_in_a_directory_each_namespace_has_its_file(tmp_path: Path) -> None:
    for namespace in ("billing", "knowledge-base"):
        file = await opened_file(f"sqlite:///{tmp_path}/", namespace)
        assert file == tmp_path / f"{namespace}.db" and file.exists()


async def test_the_namespace_owns_the_file(tmp_path: Path) -> None:
    await opened_file(f"sqlite:///{tmp_path}/one.db", "billing")
    with pytest.raises(StoreMismatchError):
        await open_store(f"sqlite:///{tmp_path}/one.db", namespace="ticketing")


REFUSED = [
    "",
    "store.db",
    "sqlite:store.db",
    "sqlite://host/store.db",
    "sqlite:///",
    "sqlite:///a\0b",
    "postgresql://user:secret@host/db",
]


@pytest.mark.parametrize("url", REFUSED)
async def test_another_url_is_refused_with_the_forms_that_work(url: str) -> None:
    with pytest.raises(StructuredError) as refused:
        await open_store(url, namespace="billing")
    assert refused.value.code == "unsupported_store"
    assert "sqlite:///" in (refused.value.suggestion or "")
    assert "secret" not in str(refused.value.to_json())


@pytest.mark.parametrize("namespace", ["", "../up", "a/b", ".hidden"])
async def test_a_namespace_is_a_plain_name(tmp_path: Path, namespace: str) -> None:
    with pytest.raises(StructuredError):
        await open_store(f"sqlite:///{tmp_path}/", namespace=namespace)
