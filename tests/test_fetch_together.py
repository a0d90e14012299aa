"""Several processes that fetch at once: out of one archive, and into one data/ that two clones share."""

from __future__ import annotations

import errno
import fcntl
import logging
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from samdiffsr.core.errors import UserError
from samdiffsr.core.locks import locked, shared
from samdiffsr.data.fetch.download import download
from samdiffsr.data.images import write_png
from tests.test_fetch import CONTENT, QUICK, WANTED, Server, lies_there, make_zip

SETS = ("set5", "set14", "bsds100", "urban100")
FETCH = """
import sys
from pathlib import Path
from samdiffsr.core.logging import configure
from samdiffsr.data.fetch import fetch_source
from samdiffsr.data.catalogue import Source, Take, Way
key, url, root, count = sys.argv[1:]
take = Take("*.png", "hr", int(count))
source = Source(key, key, (Way(f"sr/{key}", url),), (take,), "free", unpacked=1 << 20)
configure()
fetch_source(source, Path(root))
"""


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


class Fetches:
    """Processes that fetch, and what they have said so far."""

    def __init__(self, folder: Path) -> None:
        self.said, self.processes = folder / "said", list[subprocess.Popen[bytes]]()

    def start(self, key: str, url: str, root: Path, count: int) -> None:
        root.mkdir(exist_ok=True)
        command = [sys.executable, "-c", FETCH, f"toy_{key}", url, str(root), str(count)]
        with open(self.said, "ab") as said:
            self.processes.append(subprocess.Popen(command, stdout=said, stderr=said))

    def until(self, enough: Callable[[str], bool]) -> None:
        """Wait for them to say enough; no longer than a process takes to start and fail."""
        for _ in range(600):
            if enough(self.said.read_text()) or all(p.poll() is not None for p in self.processes):
                return
            time.sleep(0.05)

    def end(self) -> str:
        codes = [process.wait(60) for process in self.processes]
        said = self.said.read_text()
        assert codes == [0] * len(codes), said
        return said


def _pictures(folder: Path) -> dict[str, bytes]:
    rng = np.random.default_rng(0)
    found = {}
    for key in SETS:
        for i in range(2):
            write_png(folder / "x.png", rng.integers(0, 256, (60, 80, 3), np.uint8))
            found[f"sr/toy_{key}/{i}.png"] = (folder / "x.png").read_bytes()
    return found


def test_four_processes_and_one_archive(server: Server, tmp_path: Path) -> None:
    """It is fetched once, serves all four, and is gone when the last of them has unpacked it."""
    make_zip(tmp_path / "sr.zip", _pictures(tmp_path))
    server.files["sr.zip"] = (tmp_path / "sr.zip").read_bytes()
    server.open.clear()  # until all four are at it
    fetches = Fetches(tmp_path)
    for key in SETS:
        fetches.start(key, f"{server.url}/sr.zip", tmp_path / "root", 2)
    fetches.until(lambda said: said.count("waiting") + server.asked["sr.zip"] == 4)
    server.open.set()
    said = fetches.end()
    assert lies_there(tmp_path / "root") == sorted(
        f"data/toy_{key}/{name}" for key in SETS for name in ("SOURCE.json", "hr/0.png", "hr/1.png")
    )
    assert server.asked["sr.zip"] == 1, said


def test_two_clones_that_share_data(server: Server, tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    for clone in ("a", "b"):
        (tmp_path / clone).mkdir()
        (tmp_path / clone / "data").symlink_to(tmp_path / "shared")
    make_zip(tmp_path / "sr.zip", _pictures(tmp_path))
    server.files["sr.zip"] = (tmp_path / "sr.zip").read_bytes()
    server.open.clear()
    fetches = Fetches(tmp_path)
    for clone in ("a", "b"):
        fetches.start("set5", f"{server.url}/sr.zip", tmp_path / clone, 2)
        fetches.until(lambda said: server.asked["sr.zip"] == 1)
    fetches.until(lambda said: said.count("waiting") + server.asked["sr.zip"] == 2)
    server.open.set()
    said = fetches.end()
    assert server.asked["sr.zip"] == 1, said
    assert "is there and right" in said
    assert lies_there(tmp_path / "shared") == [
        f"toy_set5/{name}" for name in ("SOURCE.json", "hr/0.png", "hr/1.png")
    ]


def test_a_lock_ends_with_its_process_and_leaves_nothing(
    tmp_path: Path, said: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "x.lock"
    code = (
        "import sys; from pathlib import Path; from samdiffsr.core.locks import locked\n"
        "with locked(Path('x.lock')): print('held', flush=True); sys.stdin.read()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"

    class Kill(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            process.kill()

    logger = logging.getLogger("samdiffsr.core.locks")
    logger.addHandler(kill := Kill())
    try:
        with locked(path):
            assert f"-{process.pid}-" in said.messages[0]  # who it was
    finally:
        logger.removeHandler(kill)
    process.communicate()
    assert not path.exists()


def test_the_last_who_shares_is_alone(tmp_path: Path) -> None:
    with shared(tmp_path / "x.use") as first:
        with shared(tmp_path / "x.use") as second:
            assert not second.alone()
        assert first.alone()
    assert lies_there(tmp_path) == []


def test_where_a_disk_knows_no_locks_names_are_unique(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    server.files["net.pth"] = CONTENT
    with locked(tmp_path / "a.lock") as a, locked(tmp_path / "a.lock") as b:
        assert len({a.suffix, b.suffix, ""}) == 3
    download(f"{server.url}/net.pth", tmp_path / "net.pth", WANTED, QUICK)
    assert lies_there(tmp_path) == ["net.pth"]


def test_another_machine_in_the_same_lock_is_found(tmp_path: Path) -> None:
    """Some network file systems keep locks to one machine: its signature tells."""
    with locked(tmp_path / "x.lock") as lock:
        lock.check()
        (tmp_path / "x.lock").write_text("node7-1234-00c0ffee")
        with pytest.raises(UserError, match="another machine took this lock too"):
            lock.check()


def test_no_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("mine")
    (tmp_path / "x.lock").symlink_to(tmp_path / "precious")
    with pytest.raises(OSError, match="symbolic links"), locked(tmp_path / "x.lock"):
        pass
    assert (tmp_path / "precious").read_text() == "mine"
