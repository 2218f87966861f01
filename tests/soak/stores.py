"""The mark of a test that holds on every kind of store."""

from __future__ import annotations

import pytest

both_stores = pytest.mark.parametrize("store_url", ["sqlite", "redis"], indirect=True)
