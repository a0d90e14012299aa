"""Fetching, against a server on this machine that is as unkind as real ones."""

from __future__ import annotations

import hashlib
import http.server
import io
import os
import shutil
import tarfile
import threading
import time
import zipfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from samdiffsr.core.errors import UserError
from samdiffsr.data import verify
from samdiffsr.data.catalogue import Source, Take, Way, WeightFile
from samdiffsr.data.catalogue import source as row_of
from samdiffsr.data.fetch import check_disk, fetch_source, fetch_weights, in_mirror, ways
from samdiffsr.data.fetch import download as downloading
from samdiffsr.data.fetch.archive import unpack
from samdiffsr.data.fetch.download import Patience, Refused, Wanted, download
from samdiffsr.data.images import write_png
from samdiffsr.data.manifest import Entry, pixels_sha256

RNG = np.random.default_rng(0)
CONTENT = RNG.integers(0, 256, 3_000_000, np.uint8).tobytes()
SHA = hashlib.sha256(CONTENT).hexdigest()
QUICK = Patience(tries=3, timeout=0.5, pause=0.01)


class Server:
    """Serves `files`; `faults[path]` is a list of what goes wrong, one an attempt, then nothing."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.faults: dict[str, list[str]] = {}
        self.etags = True
        self.asked: Counter[str] = Counter()
        self.ranges: list[str | None] = []
        self.sent = 0
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.answer(self)

            def log_message(self, *_: object) -> None:
                pass

        self.httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.httpd.daemon_threads = True
        self.released = threading.Event()
        self.open = threading.Event()  # until then bodies are held back
        self.open.set()
        self.thread = threading.Thread(target=self.httpd.serve_forever, args=(0.05,), daemon=True)
        self.thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.httpd.server_address[1]}"

    def close(self) -> None:
        self.released.set()
        self.httpd.shutdown()
        self.httpd.server_close()

    def answer(self, request: http.server.BaseHTTPRequestHandler) -> None:
        path = request.path.lstrip("/")
        self.asked[path] += 1
        faults = self.faults.get(path, [])
        fault = faults.pop(0) if faults else ""
        status, _, when = fault.partition(" ")
        if path not in self.files or status.isdigit():
            request.send_response(int(status or 404))
            if when:
                request.send_header("Retry-After", when)
            request.send_header("Content-Length", "0")
            request.end_headers()
            return
        body = self.files[path]
        etag = f'"{hashlib.md5(body).hexdigest()}"'
        start = 0
        wanted = request.headers.get("Range")
        self.ranges.append(wanted)
        if wanted and request.headers.get("If-Range", etag) == etag and fault != "no ranges":
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if start >= len(body):
                request.send_error(416)
                return
            request.send_response(206)
            request.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        else:
            request.send_response(200)
        request.send_header("Content-Length", str(len(body) - start))
        if self.etags:
            request.send_header("ETag", etag)
        request.end_headers()
        data = body[start:]
        if fault == "flipped":
            data = data[:1000] + bytes([data[1000] ^ 1]) + data[1001:]
        if fault in ("truncated", "stalled"):
            data = data[: len(data) // 2]
        try:
            request.wfile.flush()
            self.open.wait(30)
            self.sent += len(data)  # before: the client may be done before this goes on
            request.wfile.write(data)
            request.wfile.flush()
            if fault == "stalled":
                self.released.wait(5)
        except OSError:
            pass


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    server.files["net.pth"] = CONTENT
    yield server
    server.close()


WANTED = Wanted(len(CONTENT), SHA)


# ---- one address ----


def test_a_log_tells_every_tenth_of_a_long_file(
    server: Server, tmp_path: Path, said: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloading, "BLOCK", 4096)
    download(f"{server.url}/net.pth", tmp_path / "net.pth", WANTED, QUICK)
    size = f"{len(CONTENT) / 1e6:.0f} MB"
    assert 5 <= len(said.messages) <= 10
    assert all(line.startswith("net.pth: ") and line.endswith(f" of {size}") for line in said.messages)


@pytest.mark.parametrize(
    "wanted", [Wanted(), WANTED, Wanted(None, SHA[:8]), Wanted(md5=hashlib.md5(CONTENT).hexdigest())]
)
def test_a_right_file(server: Server, tmp_path: Path, wanted: Wanted) -> None:
    download(f"{server.url}/net.pth", tmp_path / "net.pth", wanted, QUICK)
    assert (tmp_path / "net.pth").read_bytes() == CONTENT
    assert os.listdir(tmp_path) == ["net.pth"]


@pytest.mark.parametrize("fault", ["truncated", "stalled"])
@pytest.mark.parametrize("wanted", [Wanted(), WANTED])
def test_a_broken_connection_goes_on_where_it_stopped(
    server: Server, tmp_path: Path, fault: str, wanted: Wanted
) -> None:
    server.faults["net.pth"] = [fault]
    download(f"{server.url}/net.pth", tmp_path / "net.pth", wanted, QUICK)
    assert (tmp_path / "net.pth").read_bytes() == CONTENT
    assert server.ranges[0] is None
    assert server.ranges[1] is not None
    assert server.sent == len(CONTENT)  # no byte twice


def test_an_interrupted_download_goes_on_in_the_next_call(server: Server, tmp_path: Path) -> None:
    server.faults["net.pth"] = ["truncated"]
    with pytest.raises(Refused, match="ended after 1500000 of 3000000"):
        download(f"{server.url}/net.pth", tmp_path / "net.pth", WANTED, replace(QUICK, tries=1))
    assert not (tmp_path / "net.pth").exists()
    download(f"{server.url}/net.pth", tmp_path / "net.pth", WANTED, QUICK)
    assert (tmp_path / "net.pth").read_bytes() == CONTENT
    assert server.sent == len(CONTENT)


def test_a_server_without_ranges_starts_again(server: Server, tmp_path: Path) -> None:
    server.faults["net.pth"] = ["truncated", "no ranges"]
    download(f"{server.url}/net.pth", tmp_path / "net.pth", WANTED, QUICK)
    assert (tmp_path / "net.pth").read_bytes() == CONTENT


@pytest.mark.parametrize("etags", [True, False])
def test_a_file_that_changed_meanwhile_is_not_mixed(server: Server, tmp_path: Path, etags: bool) -> None:
    server.etags = etags
    server.faults["net.pth"] = ["truncated"]
    with pytest.raises(Refused):
        download(f"{server.url}/net.pth", tmp_path / "net.pth", None, replace(QUICK, tries=1))
    server.files["net.pth"] = CONTENT[::-1]
    download(f"{server.url}/net.pth", tmp_path / "net.pth", None, QUICK)
    assert (tmp_path / "net.pth").read_bytes() == CONTENT[::-1]


def test_a_part_of_another_file_is_thrown_away(server: Server, tmp_path: Path) -> None:
    (tmp_path / "net.pth.part").write_bytes(b"x" * 1_000_000)
    download(f"{server.url}/net.pth", tmp_path / "net.pth", WANTED, QUICK)
    assert (tmp_path / "net.pth").read_bytes() == CONTENT
    (tmp_path / "net2.pth.part").write_bytes(CONTENT + b"more")
    download(f"{server.url}/net.pth", tmp_path / "net2.pth", Wanted(None, SHA), QUICK)
    assert (tmp_path / "net2.pth").read_bytes() == CONTENT


def test_a_flipped_byte_is_refused(server: Server, tmp_path: Path) -> None:
    server.faults["net.pth"] = ["flipped"] * 9
    with pytest.raises(Refused, match=f"SHA-256 .*, not {SHA[:12]}"):
        download(f"{server.url}/net.pth", tmp_path / "net.pth", WANTED, QUICK)
    assert os.listdir(tmp_path) == []
    assert server.asked["net.pth"] == 1  # no use in asking again


@pytest.mark.parametrize(("fault", "times"), [("404", 1), ("403", 1), ("503", 3), ("429", 3)])
def test_only_what_may_pass_is_tried_again(server: Server, tmp_path: Path, fault: str, times: int) -> None:
    server.faults["net.pth"] = [fault] * 9
    with pytest.raises(Refused, match=f"answers {fault}"):
        download(f"{server.url}/net.pth", tmp_path / "net.pth", WANTED, QUICK)
    assert server.asked["net.pth"] == times


def test_a_server_that_says_nothing_is_given_up(server: Server, tmp_path: Path) -> None:
    server.faults["net.pth"] = ["stalled"] * 9
    began = time.monotonic()
    with pytest.raises(Refused, match="timed out"):
        download(f"{server.url}/net.pth", tmp_path / "net.pth", WANTED, replace(QUICK, tries=2))
    assert time.monotonic() - began < 5


def test_another_size_is_refused_before_it_is_fetched(server: Server, tmp_path: Path) -> None:
    server.files["net.pth"] = b"<html>quota exceeded</html>"
    with pytest.raises(Refused, match="offers 27 bytes, not 3000000"):
        download(f"{server.url}/net.pth", tmp_path / "net.pth", WANTED, QUICK)
    assert server.sent <= 27


def test_the_pauses_grow(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    server.faults["net.pth"] = ["503"] * 3
    download(f"{server.url}/net.pth", tmp_path / "net.pth", WANTED, Patience(tries=4, pause=2.0))
    assert pauses == [2, 4, 8]


@pytest.mark.parametrize(
    ("answer", "pause"), [("429 7", 7), ("503 7", 7), ("503 soon", 2), ("503 9999", 600)]
)
def test_a_server_says_when_to_come_back(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str, pause: float
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    server.faults["net.pth"] = [answer]
    download(f"{server.url}/net.pth", tmp_path / "net.pth", WANTED, Patience(pause=2.0))
    assert pauses == [pause]


# ---- weights ----


def weights(**changes: object) -> WeightFile:
    row = {"file": "net.pth", "sha256": SHA, "bytes": len(CONTENT)}
    return WeightFile(key="net", **{**row, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize("fault", ["404", "flipped"])
def test_the_next_address_serves(server: Server, tmp_path: Path, fault: str) -> None:
    server.files["good.pth"] = CONTENT
    server.faults["net.pth"] = [fault] * 9
    row = weights(urls=(f"{server.url}/net.pth", f"{server.url}/good.pth"))
    assert fetch_weights(row, tmp_path, patience=QUICK).read_bytes() == CONTENT
    assert os.listdir(tmp_path) == ["net.pth"]


def test_all_addresses_are_named_when_none_serves(server: Server, tmp_path: Path) -> None:
    row = weights(urls=(f"{server.url}/a.pth", f"{server.url}/b.pth"))
    with pytest.raises(
        UserError, match=r"net: cannot be had: .*a\.pth answers 404.*b\.pth answers 404"
    ) as error:
        fetch_weights(row, tmp_path, patience=QUICK)
    assert "\n" not in str(error.value)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("place", ["net.pth", "weights/net.pth", "other.pth"])
def test_the_mirror_comes_first(server: Server, tmp_path: Path, place: str) -> None:
    (tmp_path / "mirror" / place).parent.mkdir(parents=True)
    (tmp_path / "mirror" / place).write_bytes(CONTENT)
    row = weights(urls=(f"{server.url}/net.pth",), also=("other.pth",))
    path = fetch_weights(row, tmp_path / "weights", str(tmp_path / "mirror"), patience=QUICK)
    assert path == tmp_path / "weights" / "net.pth"
    assert path.read_bytes() == CONTENT
    assert not server.asked
    fetch_weights(row, tmp_path / "weights2", f"{server.url}/", patience=QUICK)  # mirror by URL
    assert (tmp_path / "weights2" / "net.pth").read_bytes() == CONTENT


def test_a_wrong_file_in_the_way_is_named_and_kept(server: Server, tmp_path: Path) -> None:
    (tmp_path / "net.pth").write_bytes(b"mine")
    with pytest.raises(UserError, match=r"net\.pth: has 4 bytes.*delete it"):
        fetch_weights(weights(urls=(f"{server.url}/net.pth",)), tmp_path, patience=QUICK)
    assert (tmp_path / "net.pth").read_bytes() == b"mine"


# ---- archives ----


def make_zip(path: Path, members: dict[str, bytes], link: str = "") -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in members.items():
            file.writestr(name, data)
        if link:
            info = zipfile.ZipInfo(link)
            info.external_attr = 0o120777 << 16
            file.writestr(info, "/etc/passwd")
    return path


def make_tar(path: Path, members: dict[str, bytes], link: str = "", kind: bytes = tarfile.SYMTYPE) -> Path:
    with tarfile.open(path, "w:gz" if path.name.endswith("gz") else "w") as file:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            file.addfile(info, io.BytesIO(data))
        if link:
            info = tarfile.TarInfo(link)
            info.type, info.linkname = kind, "../../outside"
            file.addfile(info)
    return path


ANY = {"set/a.png": b"a"}


@pytest.mark.parametrize("name", ["../evil", "/tmp/evil", "set/../../evil", "C:\\evil", "..\\evil"])
@pytest.mark.parametrize("make", [make_zip, make_tar])
def test_a_member_that_escapes_is_refused(tmp_path: Path, make: object, name: str) -> None:
    archive = make(tmp_path / "x.arc", {**ANY, name: b"evil"})  # type: ignore[operator]
    with pytest.raises(Refused, match="would land outside"):
        unpack(archive, tmp_path / "in" / "out", lambda member: member, 1000)
    assert not list(tmp_path.rglob("evil"))


@pytest.mark.parametrize("make", ["zip", "tar", "hard", "fifo"])
def test_a_link_or_device_is_refused(tmp_path: Path, make: str) -> None:
    kinds = {"tar": tarfile.SYMTYPE, "hard": tarfile.LNKTYPE, "fifo": tarfile.FIFOTYPE}
    if make == "zip":
        archive = make_zip(tmp_path / "x.zip", ANY, "set/link")
    else:
        archive = make_tar(tmp_path / "x.tar", ANY, "set/link", kinds[make])
    with pytest.raises(Refused, match=r"'set/link' is a link or a device"):
        unpack(archive, tmp_path / "out", lambda member: member, 1000)
    assert not (tmp_path / "out" / "set" / "link").exists()


def test_a_bomb_is_refused(tmp_path: Path) -> None:
    bomb = bytes(20_000_000)
    for archive in (
        make_zip(tmp_path / "x.zip", {"set/a.png": bomb}),
        make_tar(tmp_path / "x.tgz", {"set/a.png": bomb}),
    ):
        assert archive.stat().st_size < 100_000
        with pytest.raises(Refused, match="refused"):
            unpack(archive, tmp_path / "out", lambda member: member, 1_000_000)
        written = sum(p.stat().st_size for p in tmp_path.glob("out/**/*.png"))
        assert written <= 2_000_000


def test_no_archive_and_a_damaged_one_are_refused(tmp_path: Path) -> None:
    (tmp_path / "x.zip").write_text("<html>sorry</html>")
    with pytest.raises(Refused, match="neither a zip nor a tar"):
        unpack(tmp_path / "x.zip", tmp_path / "out", lambda member: member, 1000)
    good = make_zip(tmp_path / "y.zip", {"set/a.png": os.urandom(10_000)}).read_bytes()
    (tmp_path / "y.zip").write_bytes(good[:5000] + b"\0" * 100 + good[5100:])
    with pytest.raises(Refused, match="damaged"):
        unpack(tmp_path / "y.zip", tmp_path / "out", lambda member: member, 100_000)
    tgz = make_tar(tmp_path / "z.tgz", {"set/a.png": os.urandom(100_000)}).read_bytes()
    (tmp_path / "z.tgz").write_bytes(tgz[:50_000])
    with pytest.raises(Refused, match="damaged"):
        unpack(tmp_path / "z.tgz", tmp_path / "out", lambda member: member, 200_000)


# ---- an image set ----


@pytest.fixture
def pictures(tmp_path: Path) -> dict[str, bytes]:
    """Two images as an upstream repository has them, with its rubbish beside them."""
    files = {}
    for name in ("b.png", "a.png"):
        write_png(tmp_path / "make" / name, RNG.integers(0, 256, (20, 30, 3), np.uint8))
        files[f"toy-1/images/{name}"] = (tmp_path / "make" / name).read_bytes()
    shutil.rmtree(tmp_path / "make")
    return {
        **files,
        "toy-1/images/Thumbs.db": b"rubbish",
        "toy-1/README": b"text",
        "toy-1/other/c.png": b"no image",
    }


@pytest.fixture
def manifest(pictures: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> tuple[Entry, ...]:
    from PIL import Image

    entries = []
    for name in ("a.png", "b.png"):
        image = np.asarray(Image.open(io.BytesIO(pictures[f"toy-1/images/{name}"])))
        entries.append(Entry(f"hr/{name}", 30, 20, pixels_sha256(image)))
    found = tuple(entries)
    for module in (ways, verify):
        monkeypatch.setattr(module, "read_manifest", lambda key: found)
    return found


def toy(*ways: Way, **changes: object) -> Source:
    take = (Take("images/*.png", "hr", 2),)
    row = Source(
        "toy", "Toy", ways or (Way("toy-1"),), take, "free", unpacked=10_000, by_hand="ask the toymaker"
    )
    return replace(row, **changes)


def put(folder: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def lies_there(root: Path) -> list[str]:
    return sorted(p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file())


COMPLETE = ["data/toy/SOURCE.json", "data/toy/hr/a.png", "data/toy/hr/b.png"]


@pytest.mark.usefixtures("manifest")
@pytest.mark.parametrize("form", ["tree", "zip", "tar.gz", "published"])
def test_a_mirror_folder_serves_trees_and_archives(
    tmp_path: Path, pictures: dict[str, bytes], server: Server, form: str
) -> None:
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    source = toy(Way("toy-1", f"{server.url}/download/toy.tgz"))
    assert not in_mirror(source, str(mirror))
    if form == "tree":
        put(mirror, pictures)
    elif form == "zip":
        make_zip(mirror / "toy-1.zip", pictures)
    else:
        make_tar(mirror / ("toy.tgz" if form == "published" else "toy-1.tar.gz"), pictures)
    assert in_mirror(source, str(mirror))
    found = fetch_source(source, tmp_path / "here", str(mirror), patience=QUICK)
    assert lies_there(tmp_path / "here") == COMPLETE
    assert found.against == "manifest"
    assert not server.asked


@pytest.mark.usefixtures("manifest")
def test_addresses_in_order_then_file_by_file(
    server: Server, tmp_path: Path, pictures: dict[str, bytes]
) -> None:
    make_zip(tmp_path / "toy.zip", pictures)
    good = (tmp_path / "toy.zip").read_bytes()
    server.files |= {
        "bad/toy.zip": good,
        "good/toy.zip": good,
        **{f"raw/{k}": v for k, v in pictures.items()},
    }
    server.faults["bad/toy.zip"] = ["flipped"] * 9
    sha = hashlib.sha256(good).hexdigest()
    bad, fine = (Way("toy-1", f"{server.url}/{at}/toy.zip", len(good), sha) for at in ("bad", "good"))
    fetch_source(toy(bad, fine), tmp_path / "a", patience=QUICK)
    assert lies_there(tmp_path / "a") == COMPLETE
    files = Way("toy-1", f"{server.url}/raw/toy-1/")
    fetch_source(toy(bad, files), tmp_path / "b", patience=QUICK)
    assert lies_there(tmp_path / "b") == COMPLETE
    assert {p: (tmp_path / "a" / p).read_bytes() for p in COMPLETE} == {
        p: (tmp_path / "b" / p).read_bytes() for p in COMPLETE
    }
    fetch_source(toy(bad), tmp_path / "c", f"{server.url}/raw", patience=QUICK)  # a mirror by URL
    assert lies_there(tmp_path / "c") == COMPLETE


@pytest.mark.usefixtures("manifest")
@pytest.mark.parametrize("trick", ["zip escape", "zip link", "tar escape", "tar link", "zip bomb"])
def test_a_malicious_archive_leaves_nothing(
    server: Server, tmp_path: Path, pictures: dict[str, bytes], trick: str
) -> None:
    kind, evil = trick.split()
    make = make_zip if kind == "zip" else make_tar
    members = dict(pictures)
    if evil == "escape":
        members["toy-1/images/../../../../evil.png"] = b"evil"
    if evil == "bomb":
        members["toy-1/images/c.png"] = bytes(300_000_000)
    archive = make(tmp_path / "toy.bin", members, "toy-1/images/l.png" if evil == "link" else "")
    server.files["toy.bin"] = archive.read_bytes()
    archive.unlink()
    with pytest.raises(UserError, match=r"toy: cannot be had: .*toy\.bin is refused"):
        fetch_source(toy(Way("toy-1", f"{server.url}/toy.bin"), by_hand=""), tmp_path / "r", patience=QUICK)
    assert lies_there(tmp_path) == []


@pytest.mark.usefixtures("manifest")
def test_other_pixels_are_refused_whatever_the_packaging(
    tmp_path: Path, pictures: dict[str, bytes], said: pytest.LogCaptureFixture
) -> None:
    write_png(tmp_path / "x.png", RNG.integers(0, 256, (20, 30, 3), np.uint8))
    put(tmp_path / "mirror", {**pictures, "toy-1/images/b.png": (tmp_path / "x.png").read_bytes()})
    with pytest.raises(UserError, match="must be supplied by hand: ask the toymaker"):
        fetch_source(toy(), tmp_path / "here", str(tmp_path / "mirror"), patience=QUICK)
    assert any("hr/b.png: its pixels have SHA-256" in line for line in said.messages)
    assert lies_there(tmp_path / "here") == []


def test_recompressed_files_are_the_same_images(
    tmp_path: Path, pictures: dict[str, bytes], manifest: tuple[Entry, ...]
) -> None:
    from PIL import Image

    for name in ("a.png", "b.png"):
        image = Image.open(io.BytesIO(pictures[f"toy-1/images/{name}"]))
        out = io.BytesIO()
        image.save(out, "PNG", compress_level=1)
        assert out.getvalue() != pictures[f"toy-1/images/{name}"]
        pictures[f"toy-1/images/{name}"] = out.getvalue()
    put(tmp_path / "mirror", pictures)
    found = fetch_source(toy(), tmp_path / "here", str(tmp_path / "mirror"), patience=QUICK)
    assert found.entries == manifest


@pytest.mark.usefixtures("manifest")
def test_what_is_there_and_right_is_kept(tmp_path: Path, pictures: dict[str, bytes]) -> None:
    """Placed by hand or pulled: nothing is asked, nothing is moved."""
    put(tmp_path / "data/toy/hr", {Path(k).name: v for k, v in pictures.items() if "/images/" in k})
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*.png")}
    fetch_source(toy(), tmp_path, patience=QUICK)
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*.png")} == before
    stamp = (tmp_path / "data/toy/SOURCE.json").read_bytes()
    fetch_source(toy(), tmp_path, patience=QUICK)
    assert (tmp_path / "data/toy/SOURCE.json").read_bytes() == stamp
    (tmp_path / "data/toy/hr/extra.png").write_bytes((tmp_path / "data/toy/hr/a.png").read_bytes())
    put(tmp_path / "mirror", pictures)
    with pytest.raises(UserError, match=r"extra\.png: no part of Toy; move it elsewhere"):
        fetch_source(toy(), tmp_path, str(tmp_path / "mirror"), patience=QUICK)
    assert (tmp_path / "data/toy/hr/extra.png").exists()
    assert not (tmp_path / "data/toy/SOURCE.json").exists()


@pytest.mark.usefixtures("manifest")
def test_a_half_finished_set_is_completed(tmp_path: Path, pictures: dict[str, bytes]) -> None:
    put(tmp_path / "mirror", pictures)
    put(tmp_path / "data/toy/hr", {"a.png": b"cut sho"})
    put(tmp_path / "data/.toy.part", {"hr/rubbish": b"left by a killed job"})
    fetch_source(toy(), tmp_path, str(tmp_path / "mirror"), patience=QUICK)
    assert [p for p in lies_there(tmp_path) if p.startswith("data")] == COMPLETE


def test_by_hand_says_where_from_and_where_to(tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        fetch_source(row_of("manga109"), tmp_path, None, patience=QUICK)
    text = str(error.value)
    for words in ("manga109.org", f"{tmp_path}/data/manga109", "109 files", "redistribution forbidden"):
        assert words in text
    assert "\n" not in text


def test_the_disk_is_checked_first(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"df2k needs .* GB on the disk of .* are free"):
        check_disk(10**18, tmp_path / "data", "df2k")
    check_disk(1, tmp_path / "data", "df2k")


def test_a_full_disk_is_one_line(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(downloading, "_receive", full)
    with pytest.raises(UserError, match="no space left on the disk; make room"):
        download(f"{server.url}/net.pth", tmp_path / "net.pth", WANTED, QUICK)
