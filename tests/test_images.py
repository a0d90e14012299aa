"""Reading and writing image files: 8-bit RGB comes out, or one line that names the file."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from samdiffsr.core.errors import UserError
from samdiffsr.data.images import list_images, read_rgb, write_png

RNG = np.random.default_rng(0)
PHOTO = RNG.integers(0, 256, (9, 7, 3), dtype=np.uint8)
GRAY = RNG.integers(0, 256, (9, 7), dtype=np.uint8)


def with_alpha(alpha: int) -> np.ndarray:
    plane = np.full((9, 7, 1), 255, np.uint8)
    plane[4, 4] = alpha
    return np.concatenate([PHOTO, plane], 2)


def refused(path: Path, match: str) -> None:
    with pytest.raises(UserError, match=match) as error:
        read_rgb(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    image=hnp.arrays(np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 40), st.just(3))),
    portable=st.booleans(),
)
def test_png_round_trip(tmp_path: Path, image: np.ndarray, portable: bool) -> None:
    write_png(tmp_path / "x.png", image, portable=portable)
    back = read_rgb(tmp_path / "x.png")
    assert back.dtype == np.uint8
    np.testing.assert_array_equal(back, image)


def test_png_bytes_depend_on_the_pixels_alone(tmp_path: Path) -> None:
    big = RNG.integers(0, 256, (160, 200, 3), dtype=np.uint8)  # more than one stored block
    for portable in (False, True):
        write_png(tmp_path / "a.png", big, portable=portable)
        write_png(tmp_path / "b.png", np.asfortranarray(big), portable=portable)
        assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
        np.testing.assert_array_equal(read_rgb(tmp_path / "a.png"), big)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.png", "b.png"]


def test_portable_png_is_what_the_standard_says(tmp_path: Path) -> None:
    """Written out by hand: 1x1 red. Two IDAT details matter, the stored block and its two checksums."""
    write_png(tmp_path / "r.png", np.array([[[255, 0, 0]]], np.uint8), portable=True)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    raw = b"\x00\xff\x00\x00"
    idat = b"\x78\x01\x01\x04\x00\xfb\xff" + raw + zlib.adler32(raw).to_bytes(4, "big")
    header = b"\x00\x00\x00\x01\x00\x00\x00\x01\x08\x02\x00\x00\x00"
    expected = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", idat) + chunk(b"IEND", b"")
    assert (tmp_path / "r.png").read_bytes() == expected
    assert zlib.decompress(idat) == raw


@pytest.mark.parametrize(
    "image", [PHOTO.astype(np.float32), GRAY, with_alpha(255), np.empty((0, 3, 3), np.uint8)], ids=str
)
def test_write_png_refuses_other_arrays(tmp_path: Path, image: np.ndarray) -> None:
    with pytest.raises(ValueError, match="uint8"):
        write_png(tmp_path / "x.png", image)


def test_gray_bilevel_and_palette_become_rgb(tmp_path: Path) -> None:
    Image.fromarray(GRAY).save(tmp_path / "gray.png")
    np.testing.assert_array_equal(read_rgb(tmp_path / "gray.png"), np.stack([GRAY] * 3, 2))
    Image.fromarray(GRAY > 127).save(tmp_path / "bilevel.png")
    np.testing.assert_array_equal(read_rgb(tmp_path / "bilevel.png")[..., 0], np.where(GRAY > 127, 255, 0))
    palette = Image.fromarray(PHOTO).quantize(8)
    palette.save(tmp_path / "palette.png")
    np.testing.assert_array_equal(read_rgb(tmp_path / "palette.png"), np.array(palette.convert("RGB")))
    palette.save(tmp_path / "palette.bmp")
    np.testing.assert_array_equal(read_rgb(tmp_path / "palette.bmp"), np.array(palette.convert("RGB")))


def test_opaque_alpha_is_dropped_transparency_refused(tmp_path: Path) -> None:
    Image.fromarray(with_alpha(255)).save(tmp_path / "opaque.png")
    np.testing.assert_array_equal(read_rgb(tmp_path / "opaque.png"), PHOTO)
    Image.fromarray(np.stack([GRAY, np.full_like(GRAY, 255)], 2), "LA").save(tmp_path / "la.png")
    np.testing.assert_array_equal(read_rgb(tmp_path / "la.png")[..., 1], GRAY)
    Image.fromarray(with_alpha(254)).save(tmp_path / "clear.png")
    refused(tmp_path / "clear.png", "transparent")
    Image.fromarray(PHOTO).save(tmp_path / "key.png", transparency=tuple(int(v) for v in PHOTO[2, 3]))
    refused(tmp_path / "key.png", "transparent")
    palette = Image.fromarray(PHOTO).quantize(8)
    palette.save(tmp_path / "palette.png", transparency=int(np.array(palette)[0, 0]))
    refused(tmp_path / "palette.png", "transparent")


def png_16bit_rgb() -> bytes:
    """Pillow cannot write one, and reads one as 8 bits without a word."""
    raw = b"".join(b"\x00" + bytes(7 * 6) for _ in range(9))

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 7, 9, 16, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def test_16_bit_is_refused(tmp_path: Path) -> None:
    Image.fromarray(GRAY.astype(np.uint16) * 257).save(tmp_path / "gray.png")
    refused(tmp_path / "gray.png", "8-bit")
    (tmp_path / "colour.png").write_bytes(png_16bit_rgb())
    with Image.open(tmp_path / "colour.png") as image:
        assert image.mode == "RGB"  # the trap
    refused(tmp_path / "colour.png", "8-bit")


def test_cmyk_is_refused(tmp_path: Path) -> None:
    Image.fromarray(PHOTO).convert("CMYK").save(tmp_path / "print.jpg")
    refused(tmp_path / "print.jpg", "CMYK")


def test_exif_orientation_is_ignored(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees
    Image.fromarray(PHOTO).save(tmp_path / "turned.jpg", exif=exif, quality=100)
    assert read_rgb(tmp_path / "turned.jpg").shape == PHOTO.shape


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp"])
def test_every_truncation_is_a_user_error(tmp_path: Path, suffix: str) -> None:
    buffer = io.BytesIO()
    Image.fromarray(PHOTO).save(buffer, {"jpg": "JPEG"}.get(suffix, suffix))
    whole = buffer.getvalue()
    path = tmp_path / f"cut.{suffix}"
    for size in range(0, len(whole) * 9 // 10, 7):
        path.write_bytes(whole[:size])
        refused(path, "cannot be decoded|not a PNG")


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP"])
def test_a_damaged_byte_never_escapes_as_another_error(tmp_path: Path, kind: str) -> None:
    """Each header byte in turn; Pillow has OSError, ValueError, SyntaxError and its bomb error for them."""
    buffer = io.BytesIO()
    Image.fromarray(PHOTO).save(buffer, kind)
    whole, path, refusals = buffer.getvalue(), tmp_path / "damaged", 0
    for place in range(min(len(whole), 270)):
        for value in (255, whole[place] ^ 1):
            path.write_bytes(whole[:place] + bytes([value]) + whole[place + 1 :])
            try:
                assert read_rgb(path).dtype == np.uint8
            except UserError:
                refusals += 1
    assert refusals > 20


def test_not_an_image_missing_folder_and_bomb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "page.png").write_text("<html>404</html>")
    refused(tmp_path / "page.png", "not a PNG, JPEG, BMP")
    Image.fromarray(PHOTO).save(tmp_path / "x.qoi")
    refused(tmp_path / "x.qoi", "not a PNG, JPEG, BMP")
    refused(tmp_path / "none.png", "no such file")
    refused(tmp_path, "cannot be decoded")  # a folder
    write_png(tmp_path / "big.png", PHOTO)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    refused(tmp_path / "big.png", "too large")


def test_list_images(tmp_path: Path) -> None:
    for name in ("b.png", "a.JPG", "c.bmp", "d.jpeg", "Thumbs.db", ".DS_Store", "._a.png", "README.md"):
        (tmp_path / name).touch()
    (tmp_path / "inner.png").mkdir()
    assert [p.name for p in list_images(tmp_path)] == ["a.JPG", "b.png", "c.bmp", "d.jpeg"]
    (tmp_path / "e.heic").touch()
    with pytest.raises(UserError, match=r"e\.heic: \.heic is not read"):
        list_images(tmp_path)


def test_list_images_of_nothing(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder"):
        list_images(tmp_path / "none")
    (tmp_path / "Thumbs.db").touch()
    with pytest.raises(UserError, match="holds no"):
        list_images(tmp_path)
