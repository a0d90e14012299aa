"""Files come into being whole, whoever else writes, whatever kills, however long the name."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from samdiffsr.cli.app import main
from samdiffsr.core.errors import UserError
from samdiffsr.core.files import DAY, as_cell, atomic_path, from_cell, leftovers, sync, write_json
from samdiffsr.core.locks import here
from samdiffsr.data.catalogue import Source, Take, Way
from samdiffsr.data.manifest import Entry
from samdiffsr.data.verify import Verified, write_stamp
from samdiffsr.workflow.doctor import remove_leftovers

WRITE = """
import os, sys
if sys.argv[2] == "faked":
    os.getpid = lambda: 7
from samdiffsr.core.files import atomic_path
with atomic_path("out.txt") as part:
    part.write_text(sys.argv[1] * 1000)
    print("written", flush=True)
    sys.stdin.read()
"""
NAMESPACE = ["unshare", "--pid", "--fork", "--mount-proc"]


def _writer(folder: Path, letter: str, alike: str = "") -> subprocess.Popen[str]:
    """A process that has written its temporary file, and waits."""
    before = NAMESPACE if alike == "namespace" else []
    process = subprocess.Popen(
        [*before, sys.executable, "-c", WRITE, letter, alike],
        cwd=folder, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "written\n"
    return process


def _hidden(folder: Path) -> list[Path]:
    return sorted(folder.glob(".*"))


@pytest.mark.parametrize("alike", ["faked", "namespace"])
def test_two_processes_of_one_number_write_one_file(tmp_path: Path, alike: str) -> None:
    """As in two containers, or on two machines, that share a folder."""
    if alike == "namespace" and (
        shutil.which("unshare") is None
        or subprocess.run([*NAMESPACE, "true"], capture_output=True).returncode
    ):
        pytest.skip("no PID namespaces here")
    first, second = _writer(tmp_path, "a", alike), _writer(tmp_path, "b", alike)
    assert len(_hidden(tmp_path)) == 2
    assert list(leftovers([tmp_path])) == []  # both live
    for process, letter in ((first, "a"), (second, "b")):
        process.communicate("")
        assert process.returncode == 0
        assert (tmp_path / "out.txt").read_text() == letter * 1000
    assert _hidden(tmp_path) == []


def test_what_a_killed_process_left_is_found(tmp_path: Path) -> None:
    killed, lives = _writer(tmp_path, "a"), _writer(tmp_path, "b")
    killed.kill()
    killed.communicate()
    assert [path.read_text()[0] for path in leftovers([tmp_path])] == ["a"]
    lives.communicate("")
    assert len(_hidden(tmp_path)) == 1


FOLDER = """
import sys
from samdiffsr.core.files import atomic_folder
with atomic_folder("release") as part:
    (part / "config.json").write_text("{}")
    print("written", flush=True)
    sys.stdin.read()
"""


def test_a_folder_that_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", FOLDER], cwd=tmp_path, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "written\n"
    assert list(remove_leftovers(tmp_path)) == []  # it lives
    process.kill()
    process.communicate()
    (tmp_path / "other").mkdir()
    (left,) = _hidden(tmp_path)
    shutil.copytree(left, tmp_path / "other" / left.name)
    assert list(remove_leftovers(tmp_path)) == [left]
    assert [path.name for path in tmp_path.iterdir()] == ["other"]
    assert any((tmp_path / "other").iterdir())  # no folder of the project's


@pytest.mark.parametrize(
    ("name", "old", "found"),
    [
        (".x.part-HERE-PID-01234567.png", False, False),  # a number in use again
        (".x.part-HERE-PID-01234567.png", True, True),
        (".x.part-elsewhere-4194999-01234567.png", False, False),  # its lock may not reach here
        (".x.part-elsewhere-4194999-01234567.png", True, True),
        (".x.part-4194999.png", True, True),  # as earlier versions named them
        ("x.zip.part", True, False),  # a download that goes on
        (".x.part-y.png", True, False),
        ("x.part-elsewhere-4194999-01234567.png", True, False),
    ],
)
def test_only_what_is_surely_left_is_found(tmp_path: Path, name: str, old: bool, found: bool) -> None:
    name = name.replace("HERE", here()).replace("PID", str(os.getpid()))  # not in the test's own name
    path = tmp_path / "deep" / name
    path.parent.mkdir()
    path.touch()
    if old:
        moment = time.time() - DAY - 60
        os.utime(path, (moment, moment))
    assert list(leftovers([tmp_path, tmp_path / "nowhere"])) == ([path] if found else [])


@pytest.mark.parametrize("name", ["字" * 81 + ".png", "a" * 255, "a." + "b" * 253, "é" * 125 + ".tiff"])
def test_long_names(tmp_path: Path, name: str) -> None:
    write_json(tmp_path / name, 1)
    assert os.listdir(tmp_path) == [name]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(
    st.text(
        st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=255
    ).filter(lambda name: name not in (".", "..") and len(name.encode()) <= 255)
)
def test_every_legal_name(tmp_path: Path, name: str) -> None:
    with atomic_path(tmp_path / name) as part:
        assert len(os.fsencode(part.name)) <= 255
        part.write_text("x")
    assert os.listdir(tmp_path) == [name]
    (tmp_path / name).unlink()


def test_a_name_that_the_disk_does_not_allow(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the name has 256 bytes and this disk allows 255; shorten it"):
        write_json(tmp_path / ("a" * 256), 1)
    assert os.listdir(tmp_path) == []


def test_a_link_in_the_way_is_replaced_and_not_followed(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("mine")
    (tmp_path / "x.json").symlink_to(tmp_path / "precious")
    write_json(tmp_path / "x.json", 1)
    assert (tmp_path / "precious").read_text() == "mine"
    assert not (tmp_path / "x.json").is_symlink()


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is synced and renamed, by name, in order."""
    said: list[str] = []
    fsync, replace = os.fsync, os.replace

    def synced(file: int) -> None:
        name = Path(os.readlink(f"/proc/self/fd/{file}")).name
        said.append("part" if ".part-" in name else name)
        fsync(file)

    def renamed(a: Path, b: Path) -> None:
        said.append("rename")
        replace(a, b)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", renamed)
    return said


def test_a_file_and_its_folders_are_synced(tmp_path: Path, calls: list[str]) -> None:
    write_json(tmp_path / "a" / "b" / "x.json", 1)
    assert calls[:3] == ["part", "rename", "b"]
    assert sorted(calls[3:]) == ["a", tmp_path.name]  # new folders are entries too
    calls.clear()
    sync([tmp_path / "a" / "b" / "x.json"])
    assert calls == ["x.json", "b"]


def test_doctor_removes_what_a_killed_process_left(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "work").mkdir()
    killed = _writer(tmp_path / "work", "a")
    killed.kill()
    killed.communicate()
    (left,) = _hidden(tmp_path / "work")
    shutil.copy(root / "config.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):  # the study is not here
        main(["doctor"])
    assert not left.exists()
    assert f"removed work/{left.name}: a killed process left it" in capsys.readouterr().out


def test_fetched_images_are_synced_before_their_stamp(tmp_path: Path, calls: list[str]) -> None:
    source = Source("toy", "Toy", (Way("toy"),), (Take("*.png", "hr"),), "free")
    image = tmp_path / source.folder / "hr" / "a.png"
    image.parent.mkdir(parents=True)
    image.write_bytes(b"x")
    write_stamp(source, Verified((Entry("hr/a.png", 1, 1, "0" * 64),), "count"), tmp_path)
    assert calls == ["a.png", "hr", "part", "rename", "toy"]


@given(st.text())
def test_no_cell_from_outside_is_a_formula(text: str) -> None:
    cell = as_cell(text)
    assert cell[:1] not in tuple("=+-@\t\r")
    assert from_cell(cell) == text
