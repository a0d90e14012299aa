"""Images as people have them: what upscaling tools were reported to lose, to spoil or to stop at."""

from __future__ import annotations

import io
import os
import random
import shutil
import signal
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from samdiffsr.cli.app import main
from samdiffsr.core.errors import UserError
from samdiffsr.data.images import read_rgb
from tests.workflow import ROOT

DATA = ROOT / "tests" / "data" / "images"
BROKEN = sorted((DATA / "exif").iterdir())
FORMATS = ("png", "jpg", "tif", "webp", "bmp")
FIELDS, GPS = 0x8769, 0x8825
RNG = np.random.default_rng(0)
PHOTO = RNG.integers(0, 256, (10, 12, 3), dtype=np.uint8)

Upscale = Callable[..., tuple[int, list[str], str]]


@pytest.fixture
def upscale(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Upscale:
    """Run the command in tmp_path; its exit status, its warnings and lines, its error."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str | Path) -> tuple[int, list[str], str]:
        capsys.readouterr()
        code = 0
        try:
            main(command(world, *arguments))
        except SystemExit as left:
            code = int(left.code or 0)
        printed = capsys.readouterr()
        assert "Traceback" not in printed.err
        warnings = [line for line in printed.err.splitlines() if line.startswith("warning: ")]
        error = [line for line in printed.err.splitlines() if line not in warnings]
        assert len(error) == (code != 0), printed.err
        return code, warnings + printed.out.splitlines(), "".join(error)

    return run


def command(world: Path, *arguments: str | Path) -> list[str]:
    return [
        "upscale", *map(str, arguments), "--checkpoint", str(world / "encoder"), "--device", "cpu",
        "--threads", "1", "--precision", "float32",
    ]  # fmt: skip


def pixels(path: Path | str) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


def save(path: Path, image: Any = PHOTO, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(path, **options)
    return path


def images_in(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("[!.]*") if p.is_file())


# ---- metadata --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["-o", "--format"])
def test_tiff_holds_the_exif_of_a_phone(tmp_path: Path, upscale: Upscale, way: str) -> None:
    for name in ("phone", "simple"):
        shutil.copy(DATA / "tiff_exif" / f"{name}.jpg", tmp_path)
        if way == "-o":
            assert upscale(f"{name}.jpg", "-o", f"out/{name}.tif")[0] == 0
    if way == "--format":
        assert upscale("phone.jpg", "simple.jpg", "-o", "out", "--format", "tif")[0] == 0
    for name in ("phone", "simple"):
        with Image.open(f"{name}.jpg") as before, Image.open(f"out/{name}.tif") as after:
            old, new = before.getexif(), after.getexif()
            assert new[271] == "Maker"
            wanted = dict(old.get_ifd(FIELDS))
            if 40962 in wanted:  # the size, which is the new one; phone.jpg is turned
                wanted |= {40962: after.width, 40963: after.height}
            assert new.get_ifd(FIELDS) == wanted
            assert new.get_ifd(GPS) == old.get_ifd(GPS)
    import tifffile  # another reader than the writer

    with tifffile.TiffFile("out/phone.tif") as other:
        assert other.pages[0].tags["ExifTag"].value["DateTimeOriginal"] == "2024:05:01 10:00:00"


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("path", BROKEN, ids=lambda path: path.stem)
def test_metadata_that_cannot_be_read_are_dropped_with_one_warning(
    tmp_path: Path, upscale: Upscale, path: Path, format: str
) -> None:
    shutil.copy(path, tmp_path / "a.jpg")
    save(tmp_path / "clean.png", pixels(path))
    code, said, _ = upscale("a.jpg", "-o", f"a.{format}" if format != "jpg" else "b.jpg")
    assert code == 0
    assert sum("a.jpg: dropped: EXIF" in line for line in said) == 1
    upscale("clean.png", "-o", f"c.{format}")
    made = f"a.{format}" if format != "jpg" else "b.jpg"
    np.testing.assert_array_equal(pixels(made), pixels(f"c.{format}"))


def test_text_that_is_not_ascii_stays_as_it_is(tmp_path: Path, upscale: Upscale) -> None:
    exif = Image.Exif()
    exif[0x013B] = "José".encode()
    save(tmp_path / "a.jpg", exif=exif)
    for format in ("png", "tif", "webp"):
        upscale("a.jpg", "-o", f"a.{format}")
        with Image.open(f"a.{format}") as image:
            assert image.getexif()[0x013B].encode("latin-1").decode() == "José"


def directory(random_: random.Random, base: int) -> bytes:
    """A directory of EXIF with tags, types, counts and offsets of any kind, in a block that begins at 0."""
    known = [256, 270, 271, 272, 274, 282, 283, 296, 305, 306, 315, 531, 700, 33432, FIELDS, GPS, 40965]
    tags = sorted(
        {random_.choice([*known, random_.randrange(65536)]) for _ in range(random_.randrange(1, 9))}
    )
    entries = b""
    for tag in tags:
        kind = random_.choice([*range(14), 129, 65535])
        count = random_.choice([0, 1, 1, 1, 2, 3, 9, 1000, 2**31, 2**32 - 1])
        value = random_.choice([0, 1, 6, 8, base, base + 2, random_.randrange(300), 2**31, 2**32 - 1])
        entries += struct.pack("<HHLL", tag, kind, count, value)
    return struct.pack("<H", len(tags)) + entries + struct.pack("<L", random_.choice([0, 8, 2**32 - 1]))


def exif_block(seed: int) -> bytes:
    random_ = random.Random(seed)
    first = directory(random_, 150)
    block = b"II*\0" + struct.pack("<L", random_.choice([8, 8, 8, 8, 0, 9, 5000])) + first
    return b"Exif\0\0" + block.ljust(150, b"\0") + directory(random_, 8) + random_.randbytes(40)


@pytest.mark.parametrize("format", FORMATS)
def test_no_exif_stops_a_batch(
    tmp_path: Path, upscale: Upscale, monkeypatch: pytest.MonkeyPatch, format: str
) -> None:
    """Broken in every way that EXIF can be; whatever is refused is refused before the network runs."""
    monkeypatch.setattr("samdiffsr.sampling.restorers.encoder_restorer", lambda *_: lambda lr, name: lr)
    for seed in range(150):
        suffix = ("jpg", "png", "webp")[seed % 3]
        save(tmp_path / f"in/{seed}.{suffix}", exif=exif_block(seed))
    code, said, _ = upscale("in", "-o", "out", "--format", format)
    assert code == 0
    assert len(images_in(tmp_path / "out")) == 150
    warned = [line for line in said if line.startswith("warning: ")]
    assert len(warned) > 100
    assert len(warned) == len({line.split(": ")[1] for line in warned})  # one an image
    for path in (tmp_path / "out").glob("[!.]*"):
        with Image.open(path) as image:
            image.load()
            image.getexif().get_ifd(FIELDS)


def test_no_exif_of_a_tiff_stops_a_batch(
    tmp_path: Path, upscale: Upscale, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bytes flipped behind a TIFF's pixels: made, or refused by name before the network runs."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(DATA / "tiff_exif" / "phone.jpg", tmp_path)
    upscale("phone.jpg", "-o", "whole.tif")
    whole = Path("whole.tif").read_bytes()
    random_ = random.Random(0)
    Path("in").mkdir()
    for i in range(60):
        data = bytearray(whole)
        for _ in range(3):
            data[random_.randrange(len(data) - 500, len(data))] = random_.randrange(256)
        Path(f"in/{i}.tif").write_bytes(data)
    ran: list[str] = []

    def network(*_: Any) -> Any:
        return lambda lr, name: ran.append(name) or lr

    monkeypatch.setattr("samdiffsr.sampling.restorers.encoder_restorer", network)
    _, said, _ = upscale("in", "-o", "out", "--format", "tif")
    failed = {Path(line.split(": ")[1]).stem for line in said if line.startswith("failed: ")}
    assert len(failed) + len(images_in(tmp_path / "out")) == 60
    assert not failed & set(ran)
    assert len(ran) > 20


# ---- colour ----------------------------------------------------------------------------------------------


def test_a_profile_never_contradicts_the_mode(tmp_path: Path, upscale: Upscale) -> None:
    shutil.copy(DATA / "gray_icc.jpg", tmp_path)
    for format in ("png", "tif", "webp"):
        _, said, _ = upscale("gray_icc.jpg", "-o", f"a.{format}")
        warned = [
            line for line in said if "a colour profile of GRAY, which a file of RGB cannot have" in line
        ]
        with Image.open(f"a.{format}") as image:
            assert (image.info.get("icc_profile") is None) == (format == "webp") == bool(warned)
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    save(tmp_path / "b.png", PHOTO[:, :, 0], icc_profile=srgb)
    upscale("b.png", "-o", "b.tif")
    with Image.open("b.tif") as image:
        assert image.mode == "L"
        assert "icc_profile" not in image.info


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_colour_under_alpha_0_reaches_no_opaque_pixel(tmp_path: Path, upscale: Upscale, mode: str) -> None:
    image = Image.fromarray(RNG.integers(0, 256, (30, 30, 4), dtype=np.uint8))
    alpha = np.zeros((30, 30), np.uint8)
    alpha[8:22, 5:20] = 255
    alpha[8, 5:20] = 7
    for name, hidden in (("a", 0), ("b", 255)):
        planes = np.array(image)
        planes[alpha == 0] = hidden
        planes[:, :, 3] = alpha
        save(tmp_path / f"{name}.png", Image.fromarray(planes).convert(mode))
        assert upscale(f"{name}.png", "-o", f"{name}.tif")[0] == 0
    np.testing.assert_array_equal(pixels("a.tif"), pixels("b.tif"))
    assert pixels("a.tif")[60, 50, -1] == 255


def test_an_image_that_is_all_transparent_is_made(tmp_path: Path, upscale: Upscale) -> None:
    save(tmp_path / "a.png", np.dstack([PHOTO, np.zeros_like(PHOTO[:, :, 0])]))
    assert upscale("a.png", "-o", "b.png")[0] == 0
    assert pixels("b.png")[..., 3].max() == 0


# ---- odd files -------------------------------------------------------------------------------------------


def with_chunk(kind: bytes, content: bytes, crc: int | None = None) -> bytes:
    """PHOTO as a PNG with one more chunk before its pixels."""
    file = io.BytesIO()
    Image.fromarray(PHOTO).save(file, "PNG")
    data = file.getvalue()
    check = zlib.crc32(kind + content) if crc is None else crc
    return data[:33] + struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check) + data[33:]


@pytest.mark.parametrize(
    "data",
    [
        with_chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(2_000_000))),
        with_chunk(b"iTXt", b"Comment\0\1\0\0\0" + zlib.compress(bytes(2_000_000))),
        with_chunk(b"tEXt", b"Comment\0hello", crc=1),
        with_chunk(b"iCCP", b"name\0\0" + zlib.compress(bytes(2_000_000))),
        with_chunk(b"eXIf", b"II*\0", crc=1),
        with_chunk(b"iTXt", b"broken"),
        with_chunk(b"zTXt", b"Comment\0\7nonsense"),
        with_chunk(b"gAMA", b"\0\1"),
        with_chunk(b"pHYs", b"\0\1"),
        with_chunk(b"acTL", b"\0"),
        with_chunk(b"iCCP", b"name"),
    ],
    ids=[
        "2 MB of zTXt", "2 MB of iTXt", "wrong checksum", "2 MB of profile", "EXIF's checksum", "iTXt",
        "zTXt", "short gAMA", "short pHYs", "short acTL", "half an iCCP",
    ],
)  # fmt: skip
def test_a_png_is_made_whatever_its_text_is(tmp_path: Path, upscale: Upscale, data: bytes) -> None:
    (tmp_path / "a.png").write_bytes(data)
    save(tmp_path / "clean.png")
    assert upscale("a.png", "clean.png", "-o", "out")[0] == 0
    np.testing.assert_array_equal(pixels("out/a.png"), pixels("out/clean.png"))


def test_a_profile_that_cannot_be_unpacked_is_named(tmp_path: Path, upscale: Upscale) -> None:
    for name, profile in (("no zlib", b"nonsense"), ("no profile", zlib.compress(b"nonsense"))):
        (tmp_path / f"{name}.png").write_bytes(with_chunk(b"iCCP", b"name\0\0" + profile))
        warning = f"warning: {name}.png: dropped: a colour profile that cannot be read"
        assert warning in upscale(f"{name}.png", "-o", "out/")[1]


def test_a_png_whose_pixels_are_damaged_says_so(tmp_path: Path, upscale: Upscale) -> None:
    data = bytearray(with_chunk(b"tEXt", b"a\0b"))
    data[data.index(b"IDAT") + 30] ^= 1
    (tmp_path / "a.png").write_bytes(data)
    code, _, error = upscale("a.png", "-o", "b.png")
    assert code == 1
    assert "a.png: cannot be decoded (the checksum of its chunk IDAT is wrong)" in error
    data = bytearray(with_chunk(b"PLTE", b"12"))  # a palette of two thirds of a colour, wrong checksum
    data[data.index(b"IHDR") + 17] ^= 1
    (tmp_path / "a.png").write_bytes(data)
    assert (
        "a.png: cannot be decoded (the checksum of its chunk IHDR is wrong)"
        in upscale("a.png", "-o", "b.png")[2]
    )


def bmp565(image: np.ndarray) -> bytes:
    """16 bits for a pixel, not for a channel."""
    height, width, _ = image.shape
    r, g, b = (image.astype(np.uint16) >> (3, 2, 3)).transpose(2, 0, 1)
    rows = np.zeros((height, width + width % 2), "<u2")
    rows[:, :width] = r << 11 | g << 5 | b
    content = rows[::-1].tobytes()
    masks = struct.pack("<LLL", 0xF800, 0x07E0, 0x001F)
    head = struct.pack("<LllHHLLllLL", 40, width, height, 1, 16, 3, len(content), 0, 0, 0, 0) + masks
    return b"BM" + struct.pack("<LHHL", 14 + len(head) + len(content), 0, 0, 14 + len(head)) + head + content


def test_16_bits_for_a_pixel_are_read_and_for_a_channel_refused(tmp_path: Path, upscale: Upscale) -> None:
    (tmp_path / "a.bmp").write_bytes(bmp565(PHOTO))
    assert upscale("a.bmp", "-o", "b.png")[0] == 0
    (tmp_path / "deep.ppm").write_bytes(b"P6 1 1 1023\n" + bytes(6))
    Image.fromarray(np.ones((8, 8), np.uint16)).save(tmp_path / "deep.jp2")
    Image.fromarray(np.ones((8, 8), np.float32)).save(tmp_path / "float.tif")
    for name, bits in (("deep.ppm", 10), ("deep.jp2", 16), ("float.tif", 32)):
        assert f"{name}: {bits} bits per channel" in upscale(name, "-o", "c.png")[2]


def test_what_a_tiff_holds_beside_colour_is_named(tmp_path: Path, upscale: Upscale) -> None:
    """Pillow leaves a channel of no stated meaning out, and reads signed numbers as unsigned ones."""
    import tifffile

    four = np.dstack([PHOTO, PHOTO[:, :, :1]])
    tifffile.imwrite("four.tif", four, extrasamples=["unspecified"], photometric="rgb")
    code, said, _ = upscale("four.tif", "-o", "b.png")
    assert code == 0
    assert said[0] == "warning: four.tif: dropped: channels that are neither colour nor transparency"
    with pytest.raises(UserError, match=r"four\.tif: has channels that are neither colour nor transp"):
        read_rgb("four.tif")
    tifffile.imwrite("signed.tif", PHOTO[:, :, 0].astype(np.int8), photometric="minisblack")
    assert "signed.tif: signed numbers for its pixels" in upscale("signed.tif", "-o", "c.png")[2]


def test_an_empty_file_is_no_image(tmp_path: Path, upscale: Upscale) -> None:
    (tmp_path / "a.jpg").touch()
    assert "a.jpg: not a PNG, JPEG" in upscale("a.jpg", "-o", "b.png")[2]


def turned(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = orientation, "Maker"
    return exif.tobytes()


def with_segment(*contents: bytes) -> bytes:
    """PHOTO as a JPEG with more segments of the kind APP1."""
    file = io.BytesIO()
    Image.fromarray(PHOTO).save(file, "JPEG")
    data = file.getvalue()
    segments = b"".join(b"\xff\xe1" + struct.pack(">H", len(c) + 2) + c for c in contents)
    return data[:2] + segments + data[2:]


def moved_behind_the_pixels(data: bytes) -> bytes:
    (length,) = struct.unpack(">I", data[33:37])
    chunk, end = data[33 : 45 + length], data.index(b"IEND") - 4
    return data[:33] + data[45 + length : end] + chunk + data[end:]


RAW = b"\nexif\n%8d\n" % len(turned(6)) + turned(6).hex().encode()


@pytest.mark.parametrize(
    "data",
    [
        with_segment(b"http://ns.adobe.com/xap/1.0/\0<x/>", turned(6)),
        with_chunk(b"eXIf", turned(6)),
        moved_behind_the_pixels(with_chunk(b"eXIf", turned(6).removeprefix(b"Exif\0\0"))),
        with_chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(RAW)),
    ],
    ids=["XMP first", "a JPEG's prefix", "behind the pixels", "ImageMagick's text"],
)
def test_orientation_is_found(tmp_path: Path, upscale: Upscale, data: bytes) -> None:
    name = "a.jpg" if data.startswith(b"\xff") else "a.png"
    (tmp_path / name).write_bytes(data)
    for format in ("png", "tif"):
        assert upscale(name, "-o", f"b.{format}")[0] == 0
        with Image.open(f"b.{format}") as image:
            assert image.size == (4 * 10, 4 * 12)
            assert image.getexif().get(0x0112, 1) == 1
            assert image.getexif()[0x010F] == "Maker"


def test_an_orientation_that_does_not_exist(tmp_path: Path, upscale: Upscale) -> None:
    (tmp_path / "a.jpg").write_bytes(with_segment(turned(9)))
    _, said, _ = upscale("a.jpg", "-o", "b.png")
    assert said[0] == "warning: a.jpg: dropped: EXIF tags that cannot be read"
    with Image.open("b.png") as image:
        assert dict(image.getexif()) == {0x010F: "Maker"}


def test_a_text_called_exif_is_none(tmp_path: Path, upscale: Upscale) -> None:
    (tmp_path / "a.png").write_bytes(with_chunk(b"tEXt", b"exif\0b'Exif\\x00\\x00MM'"))
    code, said, _ = upscale("a.png", "-o", "b.jpg")
    assert (code, len(said)) == (0, 1)


def test_orientation_0_is_none(tmp_path: Path, upscale: Upscale) -> None:
    exif = Image.Exif()
    exif[0x0112] = 0
    save(tmp_path / "a.jpg", exif=exif)
    code, said, _ = upscale("a.jpg", "-o", "b.png")
    assert (code, len(said)) == (0, 1)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.jfif", {"format": "JPEG"}), ("a.jpe", {"format": "JPEG"}), ("a.apng", {"format": "PNG"}),
        ("a.tga", {}), ("a.jp2", {}), ("a.ppm", {}), ("a.dib", {}), ("a.webp", {"lossless": True}),
        ("a.gif", {}),
    ],
)  # fmt: skip
def test_what_pillow_reads_exactly_is_read_in_a_folder(
    tmp_path: Path, upscale: Upscale, name: str, options: dict[str, Any]
) -> None:
    save(tmp_path / "in" / name, **options)
    save(tmp_path / "b.png", Image.open(tmp_path / "in" / name).convert("RGB"))
    assert upscale("in", "-o", "out")[0] == 0
    upscale("b.png", "-o", "out")
    np.testing.assert_array_equal(pixels("out/a.png"), pixels("out/b.png"))


# ---- names and folders -----------------------------------------------------------------------------------


def test_a_long_name_is_made_and_one_too_long_is_refused_first(tmp_path: Path, upscale: Upscale) -> None:
    long, longer = "海" * 80 + "abc.png", "x" * 251 + ".jpg"
    for name in (long, longer, "c.png"):
        save(tmp_path / "in" / name)
    code, said, error = upscale("in", "-o", "out", "--format", "webp")
    assert code == 1
    assert images_in(tmp_path / "out") == sorted(["c.webp", "海" * 80 + "abc.webp"])
    assert said[0].startswith("failed: out/xxx")
    assert "a name of more than 255 bytes; rename the image" in error


def test_a_name_that_is_no_utf_8(world: Path, tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path) + b"/in"
    os.mkdir(folder)
    for name in (b"gr\xfc\xdf.png", b"two\nlines.png", b"b.png"):
        with open(folder + b"/" + name, "wb") as file:
            Image.fromarray(PHOTO).save(file, "PNG")
    with open(folder + b"/\xff.heic", "wb"):
        pass
    strict = {**os.environ, "PYTHONIOENCODING": "utf-8:strict", "PYTHONUTF8": "0", "LC_ALL": "C.UTF-8"}
    arguments = command(world, tmp_path / "in", "-o", tmp_path / "out")
    done = subprocess.run(
        [sys.executable, "-m", "samdiffsr", *arguments],
        env=strict,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert done.stderr.endswith("\\xff.heic: .heic is not read; convert it to PNG\n")
    assert f"{tmp_path}/out/gr\\xfc\\xdf.png: 2 of 3, 48x40" in done.stdout
    assert f"{tmp_path}/out/two\\nlines.png: 3 of 3, 48x40" in done.stdout
    made = sorted(name for name in os.listdir(os.fsencode(tmp_path / "out")) if name[:1] != b".")
    assert made == [b"b.png", b"gr\xfc\xdf.png", b"two\nlines.png"]


def test_everything_in_a_folder_is_made_refused_or_named(tmp_path: Path, upscale: Upscale) -> None:
    folder = tmp_path / "in"
    for name in ("b.jpg", "sub/deep/d.png", "e.png"):
        save(folder / name)
    (folder / "photo.heic").touch()
    (folder / "gone.png").symlink_to("nowhere.png")
    (folder / "notes").symlink_to("nowhere")
    (folder / "linked").symlink_to("sub")
    (folder / "loop").symlink_to(".")
    for name in (".DS_Store", "list.txt"):
        (folder / name).touch()
    os.mkfifo(folder / "pipe.png")
    code, said, error = upscale("in", "-o", "out")
    assert code == 1
    assert "3 of 5 images failed" in error
    assert said[:7] == [
        "in: left out, hidden: .DS_Store",
        "in: left out, a folder; --recursive enters it: linked, loop, sub",
        "in: left out, no image by its name: list.txt",
        "in: left out, a link to nowhere: notes",
        "failed: in/gone.png: a link to nowhere; convert it to PNG",
        "failed: in/photo.heic: .heic is not read; convert it to PNG",
        "failed: in/pipe.png: no regular file; convert it to PNG",
    ]
    assert images_in(tmp_path / "out") == ["b.png", "e.png"]
    code, said, _ = upscale("in", "-o", "in/large", "--recursive")
    assert "in: left out, a link to a folder: linked, loop" in said
    assert images_in(tmp_path / "in/large") == ["b.png", "e.png", "sub/deep/d.png"]
    code, said, _ = upscale("in", "-o", "in/large", "--recursive")
    assert "in: left out, the output: large" in said
    assert "3 of 3 images were made before, of the same with the same settings" in said
    assert "in: is read; give another -o" in upscale("in", "-o", "in")[2]


def test_a_folder_with_dots_in_its_name(tmp_path: Path, upscale: Upscale) -> None:
    save(tmp_path / "a.png")
    assert upscale("a.png", "-o", "2024.11.28/")[0] == 0
    assert images_in(tmp_path / "2024.11.28") == ["a.png"]
    error = upscale("a.png", "-o", "2025.1.1")[2]
    assert "no format is written as .1; choose .png, .jpg" in error
    assert "or write 2025.1.1/ for a folder" in error
    save(tmp_path / "b.png")
    assert upscale("a.png", "b.png", "-o", "2025.1.1")[0] == 0
    assert images_in(tmp_path / "2025.1.1") == ["a.png", "b.png"]


# ---- before the work -------------------------------------------------------------------------------------


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: Any, **__: Any) -> Any:
        raise AssertionError("the network was loaded")

    for restorer in ("encoder_restorer", "DenoiserRestorer"):
        monkeypatch.setattr(f"samdiffsr.sampling.restorers.{restorer}", never)


@pytest.mark.usefixtures("no_network")
def test_what_cannot_be_written_is_refused_before_the_network_runs(
    tmp_path: Path, upscale: Upscale, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path / "w4200.png", np.zeros((2, 4200, 3), np.uint8))
    error = upscale("w4200.png", "-o", "x.webp")[2]
    assert "x.webp: 16800x8 is more than WEBP holds, 16383 pixels a side; take PNG or TIFF" in error
    save(tmp_path / "tall.png", np.zeros((16400, 1), np.uint8))
    assert "4x65600 is more than JPEG holds" in upscale("tall.png", "-o", "x.jpg")[2]
    save(tmp_path / "a.png")
    (tmp_path / "file").touch()
    assert "file: no folder; give another -o" in upscale("a.png", "-o", "file/x.png")[2]
    (tmp_path / "out/a.png").mkdir(parents=True)
    assert "out/a.png: is a folder" in upscale("a.png", "-o", "out")[2]
    free = shutil.disk_usage(tmp_path)._replace(free=100)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: free)
        assert "0 MB are free; make room, or give another -o" in upscale("a.png", "-o", "b.png")[2]
    monkeypatch.setattr("samdiffsr.core.machine.free_memory", lambda: 10_000)
    error = upscale("a.png", "-o", "b.png")[2]
    assert "a.png: 12x10 needs about 0.0 GB of memory, 0.0 GB are free; cut it into parts" in error


def test_an_image_of_200_megapixels_is_a_matter_of_memory(tmp_path: Path, upscale: Upscale) -> None:
    Image.new("L", (20_000, 10_000)).save(tmp_path / "huge.png")
    code, _, error = upscale("huge.png", "-o", "b.png")
    assert code == 1
    assert "huge.png: 20000x10000 needs about 76.8 GB of memory" in error


# ---- a batch ---------------------------------------------------------------------------------------------


def test_any_exception_is_its_images_own(
    world: Path, tmp_path: Path, upscale: Upscale, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    for name in "abcd":
        save(tmp_path / f"in/{name}.png")

    def restorer(*_: Any) -> Any:
        def restore(lr: np.ndarray, name: str) -> np.ndarray:
            if name == "b":
                raise RuntimeError("out of\nmemory")
            if name == "c":
                raise MemoryError
            return lr.repeat(4, 0).repeat(4, 1)

        return restore

    monkeypatch.setattr("samdiffsr.sampling.restorers.encoder_restorer", restorer)
    code, said, error = upscale("in", "-o", "out")
    assert code == 1
    assert [line for line in said if line.startswith("failed")] == [
        "failed: in/b.png: RuntimeError: out of memory; --debug shows where",
        "failed: in/c.png: not enough memory for it; cut it into parts",
    ]
    assert "2 of 4 images failed; see above" in error
    assert images_in(tmp_path / "out") == ["a.png", "d.png"]
    with pytest.raises(Exception, match="images failed") as raised:
        main(["--debug", *command(world, "in", "-o", "out")])
    causes = raised.value.__cause__
    assert isinstance(causes, ExceptionGroup)
    assert [type(cause) for cause in causes.exceptions] == [RuntimeError, MemoryError]
    assert causes.exceptions[0].__traceback__ is not None


def test_a_full_disk_ends_the_batch(
    tmp_path: Path, upscale: Upscale, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every further image would be computed in vain."""
    for name in "abc":
        save(tmp_path / f"in/{name}.png")
    calls = []

    def full(*_: Any) -> None:
        calls.append(1)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("samdiffsr.sampling.upscale.command.write_picture", full)
    code, _, error = upscale("in", "-o", "out")
    assert (code, len(calls)) == (1, 1)
    assert "out/a.png: no space left on the disk; make room and run the same command again" in error


def test_a_half_made_folder_goes_on(
    tmp_path: Path, upscale: Upscale, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "abc":
        save(tmp_path / f"in/{name}.png", RNG.integers(0, 256, (8, 8, 3), dtype=np.uint8))
    upscale("in", "-o", "whole")
    upscale("in/a.png", "in/b.png", "-o", "half")
    for path in (tmp_path / "half").iterdir():
        os.utime(path, (1, 1))  # dates say nothing
    _, said, _ = upscale("in", "-o", "half")
    assert said[0] == "2 of 3 images were made before, of the same with the same settings"
    assert [line.split(",")[0] for line in said[1:]] == ["half/c.png: 1 of 1"]
    for name in "abc":
        assert (tmp_path / f"half/{name}.png").read_bytes() == (tmp_path / f"whole/{name}.png").read_bytes()
    # what is not ours, or not of these images and settings, is not taken for it and not replaced
    (tmp_path / "half/a.png").write_bytes(b"mine")
    assert "half/a.png: exists; give --overwrite" in upscale("in", "-o", "half")[2]
    assert "whole/a.png: exists; give --overwrite" in upscale("in", "-o", "whole", "--weights", "raw")[2]
    save(tmp_path / "in/b.png")
    os.utime(tmp_path / "in/b.png", (0, 0))
    assert "whole/b.png: exists; give --overwrite" in upscale("in", "-o", "whole")[2]
    _, said, _ = upscale("in", "-o", "whole", "--overwrite")
    assert [line.split(",")[0] for line in said] == [
        "2 of 3 images were made before", "whole/b.png: 1 of 1"
    ]  # fmt: skip


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_thirty_kills(world: Path, tmp_path: Path) -> None:
    """`kill -9` at random moments; the same command in the end gives the same bytes, and nothing else."""
    for i in range(12):
        save(tmp_path / f"in/{i}.png", RNG.integers(0, 256, (90, 120, 3), dtype=np.uint8))

    def start(out: str) -> subprocess.Popen[bytes]:
        line = [sys.executable, "-m", "samdiffsr", *command(world, "in", "-o", out)]
        return subprocess.Popen(line, cwd=tmp_path, stdout=subprocess.DEVNULL)

    began = time.perf_counter()
    assert start("whole").wait() == 0
    took = time.perf_counter() - began
    wanted = {name: (tmp_path / "whole" / name).read_bytes() for name in images_in(tmp_path / "whole")}
    random_, kills, turn = random.Random(0), 0, 0
    while kills < 30:
        process = start(f"out{turn}")
        try:
            process.wait(random_.uniform(took / 3, took))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            kills += 1
        else:
            assert process.returncode == 0
        there = images_in(tmp_path / f"out{turn}")
        assert all((tmp_path / f"out{turn}" / name).read_bytes() == wanted[name] for name in there)
        if len(there) == len(wanted):
            turn += 1
    assert start(f"out{turn}").wait() == 0
    for i in range(turn + 1):
        made = sorted(path.name for path in (tmp_path / f"out{i}").iterdir())
        assert made == sorted([*wanted, ".upscale.jsonl"])
