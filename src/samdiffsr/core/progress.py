"""How far a stage is: a bar with the time left on a terminal, plain lines in a log."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Iterator, Sequence
from typing import Any

log = logging.getLogger(__name__)


class Progress:
    """Told by a stage how far it is; `progress_bar` makes it."""

    def __init__(self, bar: Any = None, *, quiet: bool = False) -> None:
        self._bar, self._quiet = bar, quiet

    def at(self, done: int, total: int | None, *, note: str = "", line: str = "") -> None:
        """`done` of `total`: the bar moves and shows `note`; a log gets `line`, if there is one.

        Fewer done than before begins a new bar in the old one's place.
        """
        if self._bar is None:
            if line and not self._quiet:
                log.info(line)
            return
        if done < self._bar.n:
            self._bar.reset()
        self._bar.total = total
        if note:
            self._bar.set_postfix_str(note, refresh=False)
        self._bar.update(done - self._bar.n)

    def image(self, done: int, total: int, name: str, *more: str) -> None:
        """The image `name` is done, the `done`th of `total`: a line each in a log."""
        self.at(done, total, note=name, line=", ".join([f"{name}: {done} of {total}", *more]))


@contextlib.contextmanager
def progress_bar(
    what: str = "",
    unit: str = "image",
    *,
    scaled: bool = False,
    start: int = 0,
    leave: bool = True,
    quiet: bool = False,
) -> Iterator[Progress]:
    """Progress through `what`, which stands before the bar.

    Args:
        scaled: thousands as k, M, G. start: done earlier, so that the speed does not count it.
        leave: whether the bar stays when all is done.
        quiet: nothing at all: of several processes at the same work, one shows it.
    """
    if quiet or not sys.stderr.isatty():
        yield Progress(quiet=quiet)
        return
    from tqdm import tqdm

    with tqdm(
        desc=what or None, unit=unit, unit_scale=scaled, initial=start, leave=leave, dynamic_ncols=True
    ) as bar:
        yield Progress(bar)


def each_image(what: str, names: Sequence[str]) -> Iterator[tuple[int, str]]:
    """`enumerate(names)`, telling after each image that it is done."""
    with progress_bar(what) as show:
        for i, name in enumerate(names):
            yield i, name
            show.image(i + 1, len(names), name)
