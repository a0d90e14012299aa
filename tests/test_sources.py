"""The tables of sources and weights, the manifests, and what is said of a set that is not right or not
there."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
from collections import Counter
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pytest
import yaml

from samdiffsr.cli.app import main
from samdiffsr.config.load import load_config
from samdiffsr.config.recipes.tables import table_recipe
from samdiffsr.core.errors import UserError
from samdiffsr.data.catalogue import read_sources, source, sources, weights
from samdiffsr.data.demo import PHOTOGRAPHS
from samdiffsr.data.fetch import fetch_source, in_mirror, source_version
from samdiffsr.data.images import read_rgb, write_png
from samdiffsr.data.manifest import (
    Entry,
    expected_images,
    images_digest,
    pixels_sha256,
    read_manifest,
    write_manifest,
)
from samdiffsr.data.prepare import build_hr_store
from samdiffsr.data.store import Store
from samdiffsr.data.verify import taken_files, verify_source
from samdiffsr.evaluation.scores import IMAGE_COLUMNS as SCORE_COLUMNS
from samdiffsr.reporting.tables.gather import gather
from samdiffsr.workflow.availability import (
    missing_test_sets,
    needed_sources,
    needed_weights,
    with_present_test_sets,
)

VERIFIED = ("bsds500", "set5", "set14", "bsds100", "urban100")


# ---- the tables ----


def test_every_set_and_network_of_the_study_is_there() -> None:
    assert set(sources()) >= {
        *VERIFIED, "div2k_train", "div2k_valid", "flickr2k", "manga109", "general100",
        "sam_diffsr_masks", "sam_diffsr_checkpoints", "srdiff_checkpoint",
    }  # fmt: skip
    assert set(weights()) >= {
        "sam_vit_h", "sam_vit_l", "sam_vit_b", "mobile_sam", "inception", "maniqa_koniq", "maniqa_pipal",
        "lpips_alex", "alexnet",
    }  # fmt: skip
    for row in sources().values():
        assert row.terms, row.key
        assert row.downloadable or row.by_hand, row.key
        assert row.optional or all(take.count for take in row.take), row.key
        assert row.optional or row.unpacked, row.key
        for way in row.ways:
            assert way.url is None or way.url.startswith("https://"), row.key
    assert source("div2k_train").disk > 7e9


def test_files_that_are_fetched_one_by_one_have_a_manifest() -> None:
    for row in sources().values():
        if any(way.url and way.url.endswith("/") for way in row.ways):
            assert read_manifest(row.key) is not None, row.key


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x: {title: X, ways: [], take: [], term: free}", "unknown field 'term'"),
        ("x: {title: X, ways: [], take: []}", "needs the field 'terms'"),
        (
            "x: {title: X, ways: [{tree: t}], take: [], terms: free}",
            "has no url, so it needs the field 'by_hand'",
        ),
        (
            "x: {title: X, ways: [{tree: t, sha256: abc}], take: [], terms: f, by_hand: b}",
            "64 hexadecimal digits",
        ),
        ("x: {title: X, ways: [{url: u}], take: [], terms: f, by_hand: b}", "needs the field 'tree'"),
        ("X: {title: X, ways: [], take: [], terms: f, by_hand: b}", "small letters"),
        ("[1]", "must map"),
    ],
)
def test_a_broken_table_names_the_row(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "t.yaml").write_text(text)
    with pytest.raises(UserError, match=message):
        read_sources(tmp_path / "t.yaml")


def test_an_unknown_source_is_named() -> None:
    with pytest.raises(UserError, match="no source is called 'set6'; known are bsds500"):
        source("set6")


# ---- manifests ----


@pytest.mark.parametrize("key", VERIFIED)
def test_a_manifest_agrees_with_its_row(key: str) -> None:
    row, manifest = source(key), read_manifest(key)
    assert manifest is not None
    counts = Counter(str(PurePosixPath(entry.file).parent) for entry in manifest)
    assert counts == {take.to: take.count for take in row.take}
    assert len({entry.file for entry in manifest}) == len(manifest)
    assert len({entry.sha256 for entry in manifest}) == len(manifest)


def test_the_traps_of_the_benchmarks() -> None:
    """Sizes as published; Urban100's full-size HR, not the half-size of image_SRF_2; odd sizes are kept."""
    urban = read_manifest("urban100") or ()
    assert min(max(e.width, e.height) for e in urban) >= 1000
    bsds100 = Counter((e.width, e.height) for e in read_manifest("bsds100") or ())
    assert bsds100 == {(480, 320): 77, (320, 480): 23}
    train = Counter(
        (e.width, e.height) for e in read_manifest("bsds500") or () if e.file.startswith("images/train")
    )
    assert train == {(481, 321): 137, (321, 481): 63}


def test_the_demo_manifest_is_the_demo() -> None:
    manifest = read_manifest("demo") or ()
    assert {e.file: e.sha256 for e in manifest} == {f"{p.split}/{p.name}.png": p.pixels for p in PHOTOGRAPHS}


def test_a_manifest_survives_writing(tmp_path: Path) -> None:
    for key in VERIFIED:
        entries = read_manifest(key)
        assert entries is not None
        write_manifest(tmp_path / "m.csv", reversed(entries))
        assert sorted(read_manifest(key, tmp_path / "m.csv") or ()) == sorted(entries)


@pytest.mark.parametrize(
    "text", ["a,b\n", "file,width,height,sha256\nx.png,3,4\n", "file,width,height,sha256\nx,y,4,5\n"]
)
def test_a_damaged_manifest_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "m.csv").write_text(text)
    with pytest.raises(UserError, match=r"m\.csv"):
        read_manifest("x", tmp_path / "m.csv")


def test_the_digest_is_of_stems_sizes_and_pixels() -> None:
    a, b = Entry("x/a.png", 3, 2, "1" * 64), Entry("y/b.jpg", 3, 2, "2" * 64)
    other = Entry("y/c.mat", 0, 0, "3" * 64)
    assert (
        images_digest([a, b])
        == images_digest([b, a])
        == images_digest([b, other, a._replace(file="z/a.bmp")])
    )
    for changed in (a._replace(file="x/d.png"), a._replace(width=2, height=3), a._replace(sha256="4" * 64)):
        assert images_digest([changed, b]) != images_digest([a, b])


def test_expected_images_of_a_data_set() -> None:
    folders = ["data/bsds500/images/train", "data/bsds500/images/test"]
    assert len(expected_images(folders) or ()) == 400
    assert len(expected_images(folders, ["302003"]) or ()) == 399
    assert expected_images(["data/div2k_train"]) is None
    assert expected_images(["data/set5", "data/div2k_train"]) is None
    assert expected_images(["/elsewhere"]) is None


# ---- against the upstream bytes ----


@pytest.mark.parametrize("key", ["set5", "set14", "bsds100", "bsds500"])
def test_a_manifest_is_what_upstream_has(mirror: Path, tmp_path: Path, key: str) -> None:
    row = source(key)
    if key == "bsds500":  # every file takes seconds; the workflow compares them all
        tree = mirror / row.ways[0].tree
        manifest = {e.file: e for e in read_manifest(key) or ()}
        for take in row.take:
            for path in sorted(tree.glob(take.pattern))[::40]:
                entry = manifest[f"{take.to}/{path.name}"]
                if entry.is_image:
                    assert pixels_sha256(read_rgb(path)) == entry.sha256
                else:
                    assert hashlib.sha256(path.read_bytes()).hexdigest() == entry.sha256
        return
    found = fetch_source(row, tmp_path, str(mirror))
    assert found.against == "manifest"
    stamp = json.loads((tmp_path / row.stamp).read_text())
    assert (stamp["images"], stamp["other_files"]) == (row.take[0].count, 0)
    assert stamp["images_digest"] == images_digest(read_manifest(key) or ())
    build_hr_store(tmp_path / row.folder, tmp_path / "hr", expected=expected_images([str(row.folder)]))
    store = Store(tmp_path / "hr")
    assert store.meta["images_digest"] == stamp["images_digest"]
    assert all(store[i].shape[2] == 3 for i in range(len(store)))  # Set14's gray file too


# ---- the first bad file ----


@pytest.fixture
def set5(mirror: Path, tmp_path: Path) -> Path:
    fetch_source(source("set5"), tmp_path, str(mirror))
    return tmp_path


def damage(root: Path, how: str) -> None:
    folder = root / "data/set5"
    third, fourth = (folder / f"img_00{i}_SRF_4_HR.png" for i in (3, 4))
    fourth.write_bytes(b"also bad")
    image = read_rgb(third)
    if how == "missing":
        third.unlink()
    elif how == "truncated":
        third.write_bytes(third.read_bytes()[:1000])
    elif how == "pixel":
        image[5, 5, 1] ^= 1
        write_png(third, image)
    elif how == "size":
        write_png(third, image[:-1])
    elif how == "extra":
        write_png(folder / "img_0031_SRF_4_HR.png", image)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("missing", r"img_003_SRF_4_HR\.png: missing; run `samdiffsr fetch set5`"),
        ("truncated", r"img_003_SRF_4_HR\.png: cannot be decoded"),
        (
            "pixel",
            r"img_003_SRF_4_HR\.png: its pixels have SHA-256 .*; delete it and run `samdiffsr fetch set5`",
        ),
        ("size", r"img_003_SRF_4_HR\.png: 256x255 pixels, must be 256x256"),
        ("extra", r"img_0031_SRF_4_HR\.png: no part of Set5"),
    ],
)
def test_the_first_bad_file_is_named(
    set5: Path, how: str, message: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    damage(set5, how)
    with pytest.raises(UserError, match=message):
        verify_source(source("set5"), set5 / "data/set5")
    monkeypatch.chdir(set5)
    with pytest.raises(SystemExit):
        main(["verify"])
    assert capsys.readouterr().err.count("\n") == 1


def test_preparing_verifies_too(set5: Path) -> None:
    folder = set5 / "data/set5"
    expected = expected_images(["data/set5"])
    image = read_rgb(folder / "img_003_SRF_4_HR.png")
    image[0, 0, 0] ^= 1
    write_png(folder / "img_003_SRF_4_HR.png", image)
    with pytest.raises(UserError, match=r"img_003_SRF_4_HR\.png: not the image of the manifest"):
        build_hr_store(folder, set5 / "hr", expected=expected)
    (folder / "img_003_SRF_4_HR.png").unlink()
    with pytest.raises(UserError, match=r"img_003_SRF_4_HR\.png: missing"):
        build_hr_store(folder, set5 / "hr", expected=expected)
    assert not (set5 / "hr.json").exists()


def test_rubbish_beside_the_images_is_passed_over(set5: Path) -> None:
    for name in ("Thumbs.db", ".DS_Store", "._img_001_SRF_4_HR.png", "readme.txt"):
        (set5 / "data/set5" / name).write_bytes(b"rubbish")
    assert len(verify_source(source("set5"), set5 / "data/set5").entries) == 5


def test_a_set_without_manifest_is_counted(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for i in range(3):
        write_png(tmp_path / "data/general100" / f"im_{i}.png", rng.integers(0, 256, (17, 19, 3), np.uint8))
    row = source("general100")
    with pytest.raises(UserError, match=r"3 files .*, 100 are expected"):
        verify_source(row, tmp_path / row.folder)
    for i in range(3, 100):
        shutil.copyfile(tmp_path / "data/general100/im_0.png", tmp_path / f"data/general100/im_{i}.png")
    found = fetch_source(row, tmp_path)
    assert found.against == "count"
    assert json.loads((tmp_path / row.stamp).read_text())["verified_against"] == "count"


# ---- unions and what is left out ----


def test_a_data_set_may_be_a_union(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    for name in ("x/b", "y/a", "y/c"):
        write_png(tmp_path / f"{name}.png", rng.integers(0, 256, (8, 9, 3), np.uint8))
    build_hr_store([tmp_path / "x", tmp_path / "y"], tmp_path / "hr", exclude=["c"])
    assert Store(tmp_path / "hr").names == ("a", "b")
    with pytest.raises(UserError, match="no image 'nobody' in"):
        build_hr_store([tmp_path / "x", tmp_path / "y"], tmp_path / "hr", exclude=["nobody"])
    shutil.copyfile(tmp_path / "y/a.png", tmp_path / "x/a.png")
    with pytest.raises(UserError, match="two images are called 'a'"):
        build_hr_store([tmp_path / "x", tmp_path / "y"], tmp_path / "hr")


@pytest.fixture
def raw(root: Path) -> dict[str, Any]:
    return yaml.safe_load((root / "config.yaml").read_text())


def test_the_studies_use_the_papers_data(raw: dict[str, Any]) -> None:
    paper = load_config({**raw, "study": "paper"})
    assert {s.key for s in needed_sources(paper)} == {
        "div2k_train", "flickr2k", "set5", "set14", "bsds100", "urban100", "manga109", "general100",
        "div2k_valid",
    }  # fmt: skip
    reduced = load_config({**raw, "study": "reduced"})
    assert len(reduced.expected_images(reduced.chosen.train_set) or ()) == 399
    assert "302003" not in {Path(e.file).stem for e in reduced.expected_images("bsds500_train") or ()}
    assert reduced.images_digest("bsds500_train") is not None
    assert paper.images_digest("df2k") is None
    demo = load_config(raw)
    assert needed_sources(demo) == []
    assert demo.images_digest("demo_train") is not None


def test_the_weights_that_a_study_needs(raw: dict[str, Any]) -> None:
    raw["tables"]["table2"]["metrics"] = ["psnr_y", "lpips", "maniqa_pipal", "fid_clean"]
    raw["mask_sets"]["sam_h"] = {"image": "hr", "segmenter": {"kind": "sam", "model": "vit_h"}}
    raw["mask_sets"]["mobile"] = {"image": "lr", "segmenter": {"kind": "mobile_sam"}}
    raw["studies"]["demo"]["masks"] |= {"high": "sam_h", "low": "mobile"}
    plain = {"metrics": ["psnr_y"], "samples": 1}
    tables = {name: {**table, **plain} for name, table in raw["tables"].items()}
    tables["table2"] = raw["tables"]["table2"]
    figures = {name: figure for name, figure in raw["figures"].items() if figure["kind"] != "split"}
    found = needed_weights(load_config({**raw, "tables": tables, "figures": figures}))
    assert found == ["alexnet", "inception", "lpips_alex", "maniqa_pipal", "mobile_sam", "sam_vit_h"]


def test_a_test_set_that_is_not_there_is_skipped_or_an_error(raw: dict[str, Any], tmp_path: Path) -> None:
    rest = ("set5", "set14", "bsds100")
    (tmp_path / "mirror").mkdir()
    for key in rest:
        take = source(key).take[0]
        place = tmp_path / "mirror" / source(key).ways[0].tree / Path(take.pattern).parent
        write_png(place / "img_001_SRF_4_HR.png", np.zeros((4, 4, 3), np.uint8))
    raw |= {"study": "reduced", "mirror": str(tmp_path / "mirror")}
    config = load_config(raw)
    assert list(missing_test_sets(config, tmp_path)) == ["urban100"]
    left = with_present_test_sets(config, tmp_path)
    assert left.chosen.test_sets == rest
    assert left.chosen.train_set == "bsds500_train"
    recipe = table_recipe(left, "table2")
    assert [dataset.label for dataset in recipe.left_out] == ["Urban100"]
    assert "urban100" not in [dataset.name for dataset in recipe.datasets]
    with pytest.raises(UserError, match=r"test set urban100: not in data/urban100 and not in the mirror"):
        with_present_test_sets(load_config({**raw, "missing_test_sets": "fail"}), tmp_path)
    # without a mirror, what has an address can be had, and the rest must be supplied by hand
    paper = load_config({**raw, "study": "paper", "mirror": None})
    assert sorted(missing_test_sets(paper, tmp_path)) == ["general100", "manga109"]
    write_png(tmp_path / "data/manga109/Arisa.png", np.zeros((4, 4, 3), np.uint8))
    assert sorted(missing_test_sets(paper, tmp_path)) == ["general100"]
    only = {**raw["studies"]["reduced"], "test_sets": ["urban100"]}
    lonely = load_config({**raw, "studies": {**raw["studies"], "reduced": only}})
    with pytest.raises(UserError, match="no test set is there"):
        with_present_test_sets(lonely, tmp_path)


def test_a_table_names_what_is_left_out(raw: dict[str, Any], root: Path, tmp_path: Path) -> None:
    raw["study"] = "reduced"
    config = load_config(raw).without({"urban100": "not in the mirror /m", "set14": "x", "bsds100": "y"})
    recipe = table_recipe(config, "table2")
    recipe = recipe.model_copy(update={"rows": recipe.rows[:1], "metrics": ("psnr_y",)})
    (tmp_path / "s.csv").write_text(",".join(SCORE_COLUMNS) + "\nbicubic-x4-s0,none,set5,a,psnr_y,28.4,,p\n")
    published = root / "paper" / "published_tables.csv"
    gather(recipe, [tmp_path / "s.csv"], [], published, tmp_path / "w.csv", tmp_path / "t.csv")
    rows = list(csv.DictReader((tmp_path / "t.csv").read_text().splitlines()))
    assert {r["dataset"]: r["why_empty"] for r in rows} == {
        "Set5": "",  # none of the table's own is there
        "BSDS100": "test set left out: y",
        "Urban100": "test set left out: not in the mirror /m",
    }
    assert "Urban100" not in (tmp_path / "w.csv").read_text()


def test_in_mirror_looks_for_the_files(mirror: Path) -> None:
    found = {key for key in sources() if in_mirror(sources()[key], str(mirror))}
    assert found == {"bsds500", "set5", "set14", "bsds100"}
    assert not in_mirror(source("set5"), None)
    assert not in_mirror(source("set5"), "https://example.org/")


def test_the_version_follows_the_files_and_not_the_addresses() -> None:
    import dataclasses

    row = source("set5")
    assert source_version(dataclasses.replace(row, ways=(), terms="")) == source_version(row)
    assert source_version(row) != source_version(source("set14"))
    fewer = dataclasses.replace(row, take=(dataclasses.replace(row.take[0], count=4),))
    assert source_version(fewer) != source_version(row)


# ---- the commands ----


def test_fetch_and_verify_by_name(
    mirror: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    main(["fetch", "set5", "--mirror", str(mirror)])
    main(["verify"])
    assert "set5: 5 files, every one as its manifest says" in capsys.readouterr().out
    main(["verify", "set5", "--write", "m.csv"])
    assert sorted(read_manifest("set5", tmp_path / "m.csv") or ()) == sorted(read_manifest("set5") or ())
    with pytest.raises(SystemExit):
        main(["fetch", "set6"])
    assert "nothing is called 'set6'" in capsys.readouterr().err
    assert taken_files(source("set5"), tmp_path / "data/set5")[0][1] == "img_001_SRF_4_HR.png"
