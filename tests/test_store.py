"""The image store: what goes in comes out, and nothing unfinished or foreign is ever read."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from samdiffsr.core.errors import UserError
from samdiffsr.data.store import Store, StoreWriter


def write(path: Path, images: dict[str, np.ndarray], dtype: str = "uint8", **meta: object) -> Store:
    with StoreWriter(path, dtype, **meta) as store:
        for name, image in images.items():
            store.add(name, image)
    return Store(path)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), dtype=st.sampled_from(["uint8", "uint16", "int32", "float32"]))
def test_round_trip(tmp_path: Path, data: st.DataObject, dtype: str) -> None:
    """Any shapes, also odd, gray and empty ones, come back bit for bit, by position and by name."""
    shapes = hnp.array_shapes(min_dims=2, max_dims=3, min_side=0, max_side=7)
    elements = None if dtype != "float32" else st.floats(width=32)  # NaN and infinities too
    images = data.draw(
        st.dictionaries(
            st.text(min_size=1, max_size=5), hnp.arrays(dtype, shapes, elements=elements), max_size=5
        )
    )
    store = write(tmp_path / "a" / "store", images, dtype)
    assert store.names == tuple(images)
    assert len(store) == len(images)
    for i, (name, image) in enumerate(images.items()):
        assert store.index(name) == i
        assert store.shape(i) == image.shape
        assert store[i].dtype == image.dtype
        assert store[i].shape == image.shape
        assert store[i].tobytes() == image.tobytes()
    content = b"".join(image.tobytes() for image in images.values())
    assert store.digest == hashlib.sha256(content).hexdigest()


def test_non_contiguous_images(tmp_path: Path) -> None:
    image = np.arange(60, dtype=np.uint8).reshape(4, 5, 3)
    views = {"turned": image.swapaxes(0, 1), "mirrored": image[:, ::-1], "cut": image[1:3, 2:, ::2]}
    store = write(tmp_path / "s", views)
    for i, view in enumerate(views.values()):
        np.testing.assert_array_equal(store[i], view)


def test_images_are_views_of_the_file_and_read_only(tmp_path: Path) -> None:
    store = write(tmp_path / "s", {"a": np.ones((4, 4, 3), np.uint8)})
    image = store[0]
    assert not image.flags.owndata
    with pytest.raises(ValueError, match="read-only"):
        image[0] = 0
    with pytest.raises(IndexError):
        store[1]


def test_meta_and_dotted_paths(tmp_path: Path) -> None:
    """A dot in the name is no suffix, so two stores never share a file."""
    first = write(tmp_path / "lr.x4", {"a": np.zeros((1, 1), np.uint8)}, scale=4)
    second = write(tmp_path / "lr.x2", {"a": np.ones((1, 1), np.uint8)}, scale=2)
    assert (first.meta, second.meta) == ({"scale": 4}, {"scale": 2})
    assert Store(tmp_path / "lr.x4")[0][0, 0] == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "lr.x2.bin",
        "lr.x2.json",
        "lr.x4.bin",
        "lr.x4.json",
    ]


def test_equal_content_gives_equal_files(tmp_path: Path) -> None:
    images = {"a": np.arange(12, dtype=np.uint8).reshape(2, 2, 3)}
    write(tmp_path / "x" / "s", images, scale=4)
    write(tmp_path / "y" / "s", images, scale=4)
    for file in ("s.bin", "s.json"):
        assert (tmp_path / "x" / file).read_bytes() == (tmp_path / "y" / file).read_bytes()


def test_pickle_carries_the_path_alone(tmp_path: Path) -> None:
    store = write(tmp_path / "s", {"a": np.full((100, 100, 3), 7, np.uint8)})
    text = pickle.dumps(store)
    assert len(text) < 1000
    np.testing.assert_array_equal(pickle.loads(text)[0], store[0])


def test_writer_refuses_wrong_dtype_and_repeated_names(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="float64"), StoreWriter(tmp_path / "s") as store:
        store.add("a", np.zeros((2, 2)))
    assert list(tmp_path.iterdir()) == []
    with StoreWriter(tmp_path / "s") as store:
        store.add("a", np.zeros((2, 2), np.uint8))
        with pytest.raises(UserError, match="'a'"):
            store.add("a", np.ones((2, 2), np.uint8))
    assert len(Store(tmp_path / "s")) == 1


def interrupted(path: Path) -> None:
    with StoreWriter(path) as store:
        store.add("a", np.ones((2, 2), np.uint8))
        raise KeyboardInterrupt


def test_a_failed_rebuild_voids_the_old_store(tmp_path: Path) -> None:
    """A store is stale from the moment its rebuilding begins, and no part is left behind."""
    path = tmp_path / "s"
    write(path, {"a": np.zeros((2, 2), np.uint8)})
    with pytest.raises(KeyboardInterrupt):
        interrupted(path)
    with pytest.raises(UserError, match="no such store"):
        Store(path)
    assert [p.name for p in tmp_path.iterdir()] == ["s.bin"]


def test_readers_of_the_old_store_survive_a_rebuild(tmp_path: Path) -> None:
    old = write(tmp_path / "s", {"a": np.full((64, 64), 1, np.uint8)})
    new = write(tmp_path / "s", {"a": np.full((8, 8), 2, np.uint8)})
    assert (old[0] == 1).all()
    assert (new[0] == 2).all()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_failure_while_closing_is_not_swallowed(tmp_path: Path, number: int) -> None:
    """A full disk may show itself only when the last buffer is flushed."""
    writer = StoreWriter(tmp_path / "s")
    writer.__enter__()
    writer.add("a", np.zeros((2, 2), np.uint8))
    real = writer._file

    class Failing:
        def close(self) -> None:
            real.close()
            raise OSError(number, "broken")

    writer._file = Failing()
    with pytest.raises(UserError if number == errno.ENOSPC else OSError, match=r"space|broken"):
        writer.__exit__(None, None, None)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not valid JSON"),
        ("[]", "not the index"),
        ("{}", "not the index"),
        ('{"format": 0}', "store format 0"),
    ],
)
def test_broken_index(tmp_path: Path, text: str, message: str) -> None:
    write(tmp_path / "s", {"a": np.zeros((2, 2), np.uint8)})
    (tmp_path / "s.json").write_text(text)
    with pytest.raises(UserError, match=message) as error:
        Store(tmp_path / "s")
    assert "s.json" in str(error.value)
    assert "\n" not in str(error.value)


def test_missing_short_and_long_data(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with pytest.raises(UserError, match="no such store"):
        Store(path)
    write(path, {"a": np.zeros((2, 2), np.uint8)})
    data = tmp_path / "s.bin"
    for content in (b"abc", b"abcde"):
        data.write_bytes(content)
        with pytest.raises(UserError, match=f"{len(content)} bytes, the index says 4"):
            Store(path)
    data.unlink()
    with pytest.raises(UserError, match=r"s\.bin"):
        Store(path)


def test_unknown_name(tmp_path: Path) -> None:
    store = write(tmp_path / "s", {"a": np.zeros((2, 2), np.uint8)})
    with pytest.raises(UserError, match="'b'"):
        store.index("b")


def test_index_is_plain_json(tmp_path: Path) -> None:
    """Others may read a store without this package: offsets, shapes and a numpy dtype string."""
    write(tmp_path / "s", {"a": np.zeros((2, 3), np.uint16), "b": np.ones((1, 1), np.uint16)}, "uint16")
    index = json.loads((tmp_path / "s.json").read_text())
    assert index["dtype"] == "<u2"
    assert index["bytes"] == 14
    assert index["images"] == [
        {"name": "a", "offset": 0, "shape": [2, 3]},
        {"name": "b", "offset": 12, "shape": [1, 1]},
    ]


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[5] ^= 1
    path.write_bytes(data)


def test_a_flipped_bit_is_found(tmp_path: Path) -> None:
    write(tmp_path / "s", {"a": np.ones((4, 4, 3), np.uint8)})
    _flip(tmp_path / "s.bin")
    with pytest.raises(UserError, match=r"s\.bin: its bytes are not those of the index; rebuild the store"):
        Store(tmp_path / "s")
    _flip(tmp_path / "s.bin")
    assert Store(tmp_path / "s")[0].all()


def test_data_are_read_once_a_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from samdiffsr.core import files

    read: list[Path] = []
    hashed = files.sha256_file
    monkeypatch.setattr(files, "sha256_file", lambda path: (read.append(path), hashed(path))[1])
    write(tmp_path / "s", {"a": np.ones((4, 4, 3), np.uint8)})
    data = tmp_path / "s.bin"
    assert read == []  # who wrote them knows it
    os.utime(data, ns=(1, 1))
    Store(tmp_path / "s")
    Store(tmp_path / "s")
    assert read == [data]
    shutil.copy2(data, tmp_path / "copy")
    os.replace(tmp_path / "copy", data)
    Store(tmp_path / "s")
    assert read == [data, data]  # another file, though of the same time
