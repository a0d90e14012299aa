"""Registries: things of one kind by their names, each an entry that says where its code is.

Entries import nothing heavy: what the configuration may name is known without torch, and only what is asked
for is imported.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Generic, TypeVar

from samdiffsr.core.errors import UserError

Entry = TypeVar("Entry")


class Registry(Mapping[str, Entry], Generic[Entry]):
    """Entries by name, in the order of their registration.

    Args:
        what: what messages call an entry, e.g. "segmenter".
    """

    def __init__(self, what: str, entries: Mapping[str, Entry] | None = None) -> None:
        self.what = what
        self._entries: dict[str, Entry] = dict(entries or {})

    def register(self, name: str, entry: Entry) -> None:
        """Add an entry; ValueError if the name is taken."""
        if name in self._entries:
            raise ValueError(f"there is a {self.what} {name!r} already")
        self._entries[name] = entry

    def replace(self, name: str, entry: Entry) -> None:
        """Add an entry, in the place of one of this name."""
        self._entries[name] = entry

    def remove(self, name: str) -> None:
        """Take an entry out."""
        del self._entries[name]

    def __getitem__(self, name: str) -> Entry:
        """The entry; UserError names the known ones."""
        try:
            return self._entries[name]
        except (KeyError, TypeError):
            raise UserError(self.unknown(name)) from None

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def unknown(self, name: Any) -> str:
        """What is said of a name that no entry has."""
        return f"{self.what} {name!r} is none of {', '.join(self)}{similar(str(name), self)}"

    def known(self, name: Any) -> str:
        """The name itself; ValueError if no entry has it."""
        if not isinstance(name, str) or name not in self:
            raise ValueError(self.unknown(name))
        return name


def load(code: str) -> Any:
    """What "module:name" means; imports the module."""
    module, name = code.split(":")
    return getattr(importlib.import_module(module), name)


def module_of(code: str) -> str:
    """The module in "module:name"."""
    return code.split(":")[0]


def similar(name: str, known: Iterable[str]) -> str:
    """A hint at the known name that is most like `name`, or nothing."""
    match = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f" (did you mean {match[0]!r}?)" if match else ""
