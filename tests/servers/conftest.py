"""Fixtures of the servers' tests: the domain of a server over an empty store."""

from __future__ import annotations

import pytest

from handoff.sqlite.store import SqliteStore
from servers.customer_data.directory import Directory
from servers.ticketing.desk import Desk


@pytest.fixture
def directory(store: SqliteStore) -> Directory:
    return Directory(store)


@pytest.fixture
def desk(store: SqliteStore) -> Desk:
    return Desk(store)
