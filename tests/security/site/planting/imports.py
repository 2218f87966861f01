"""Something done to a module right after it was imported, whenever that is: never imported for it."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

Action = Callable[[ModuleType], None]


class _Waiting(MetaPathFinder):
    """Finds nothing itself: it lets the others find, and adds to what their loaders do."""

    def __init__(self) -> None:
        self.actions: dict[str, list[Action]] = {}
        self._finding: set[str] = set()

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name not in self.actions or name in self._finding:
            return None
        self._finding.add(name)
        try:
            spec = importlib.util.find_spec(name)
        finally:
            self._finding.discard(name)
        if spec is not None and spec.loader is not None:
            spec.loader = _Extended(spec.loader, self.actions[name])
        return spec


class _Extended(Loader):
    """A loader that goes on to the actions; all else is the other's, which may load other modules too."""

    def __init__(self, inner: Loader, actions: list[Action]) -> None:
        self._inner = inner
        self._actions = actions

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._inner.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self._inner.exec_module(module)
        for action in self._actions:
            action(module)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


_waiting = _Waiting()


def after_import(name: str, action: Action) -> None:
    """Call `action` with the module as soon as it is there."""
    if name in sys.modules:
        action(sys.modules[name])
        return
    if _waiting not in sys.meta_path:
        sys.meta_path.insert(0, _waiting)
    _waiting.actions.setdefault(name, []).append(action)
