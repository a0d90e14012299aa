"""One progress bar on a terminal, plain lines in a log."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator

Progress = Callable[[int, int, str], None]  # things done, things in all, the last one's name


@contextlib.contextmanager
def progress_bar(what: str) -> Iterator[Progress]:
    """A callback for a stage that works through images; `what` is written before the bar."""
    if not sys.stderr.isatty():
        yield lambda done, total, name: print(f"{name}: {done} of {total}", flush=True)
        return
    from tqdm import tqdm

    with tqdm(desc=what, unit="image", dynamic_ncols=True) as bar:

        def show(done: int, total: int, name: str) -> None:
            bar.total = total
            bar.set_postfix_str(name, refresh=False)
            bar.update(done - bar.n)

        yield show
