"""A weight file is used only if it is the one the table means."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest

from samdiffsr.core.errors import UserError
from samdiffsr.data.catalogue import WeightFile, read_weights
from samdiffsr.data.weights import MissingWeights, WrongWeights, verify
from samdiffsr.evaluation.metrics import METRICS, weight_keys

CONTENT = b"pretend these are weights"
SHA = hashlib.sha256(CONTENT).hexdigest()


def table(**changes) -> dict[str, WeightFile]:
    row = {"file": "net.pth", "sha256": SHA, "bytes": len(CONTENT), "urls": ("https://example.org/net.pth",)}
    return {"net": WeightFile(key="net", **{**row, **changes})}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "net.pth").write_bytes(CONTENT)
    return tmp_path


@pytest.mark.parametrize("changes", [{}, {"sha256": SHA[:8]}, {"bytes": None}])
def test_the_right_file_is_found(folder: Path, changes: dict) -> None:
    assert verify("net", folder, table(**changes)).path == folder / "net.pth"
    assert verify("net", folder, table(**changes)).sha256 == SHA  # whole, even where the table has a prefix


def test_the_same_bytes_under_another_known_name_do(folder: Path) -> None:
    assert verify("net", folder, table(file="other.pth", also=("net.pth",))).path == folder / "net.pth"


def test_a_missing_file_says_where_it_goes_and_where_it_comes_from(tmp_path: Path) -> None:
    with pytest.raises(MissingWeights) as caught:
        verify("net", tmp_path, table())
    message = str(caught.value)
    assert str(tmp_path / "net.pth") in message
    assert "https://example.org/net.pth" in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (CONTENT[:-1], f"has {len(CONTENT) - 1} bytes, not {len(CONTENT)}"),
        (b"", "has 0 bytes"),
        (CONTENT[:-1] + b"S", "has SHA-256"),
    ],
)
def test_a_wrong_file_is_refused(folder: Path, content: bytes, message: str) -> None:
    (folder / "net.pth").write_bytes(content)
    with pytest.raises(WrongWeights, match=message) as caught:
        verify("net", folder, table())
    assert not isinstance(caught.value, MissingWeights)
    assert str(folder / "net.pth") in str(caught.value)


def test_a_prefix_is_compared_too(folder: Path) -> None:
    with pytest.raises(WrongWeights, match="SHA-256"):
        verify("net", folder, table(sha256="0" * 8))


def test_an_unknown_key_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no weights are called 'vgg'; known are inception"):
        verify("vgg", tmp_path)


def test_the_packaged_table_is_whole() -> None:
    rows = read_weights()
    wanted = {*weight_keys(METRICS), "sam_vit_h", "mobile_sam"}
    assert wanted <= set(rows)
    for key, row in rows.items():
        assert row.key == key
        assert row.urls, key
        assert row.terms, key
        assert all(url.startswith("https://") for url in row.urls)
        assert Path(row.file).name == row.file
        # names carry the first digits of the hash, except SAM's, whose suffix is something else
        if (suffix := re.search(r"-([0-9a-f]{8})\.pth$", row.file)) is not None:
            assert row.sha256.startswith(suffix[1])
    files = [name for row in rows.values() for name in (row.file, *row.also)]
    assert len(set(files)) == len(files)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("net: {file: a}", "net needs the field 'sha256'"),
        ("net: {file: a, sha256: 12345678}", "'sha256' as text"),
        ("net: {file: a, sha256: ABCDEF012}", "hexadecimal"),
        ("net: {file: a, sha256: abcdef01, size: 3}", "unknown field 'size'"),
        ("net: 3", "net must be a mapping"),
        ("[1]", "must map"),
        ("a: [", "not valid YAML"),
    ],
)
def test_a_broken_table_names_the_row(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "t.yaml").write_text(text)
    with pytest.raises(UserError, match=message):
        read_weights(tmp_path / "t.yaml")


def test_a_table_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such weight table"):
        read_weights(tmp_path / "t.yaml")
