"""The page of a study: complete, escaped, closed to the outside; what is missing is said."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import re
import subprocess
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from samdiffsr.cli.app import main
from samdiffsr.config.load import load_config
from samdiffsr.config.recipes.report import comparisons, report_recipe
from samdiffsr.core.errors import UserError
from samdiffsr.core.files import write_csv
from samdiffsr.data.images import read_rgb, write_png
from samdiffsr.data.overlap import COLUMNS as OVERLAP_COLUMNS
from samdiffsr.reporting.page.images import Comparison, by_spread, data_uri, window
from samdiffsr.reporting.page.origin import commit
from samdiffsr.reporting.page.overlaps import LISTED, overlaps_view
from tests.report_example import EVIL, NAMES, example_config, make_example, overlap


class Page(HTMLParser):
    """What a browser makes of a page: elements, their attributes, the text in them."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.inside: dict[str, list[str]] = {"script": [], "style": [], "": []}
        self._open = ""
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attributes)))
        self._open = tag if tag in self.inside else ""

    def handle_endtag(self, tag: str) -> None:
        self._open = ""

    def handle_data(self, data: str) -> None:
        self.inside[self._open].append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.inside[""]).split())

    @property
    def comparisons(self) -> list[dict]:
        return [json.loads(text) for text in self.inside["script"] if text.startswith("{")]


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of the made study, its files beside it. Not to be changed."""
    return make_example(tmp_path_factory.mktemp("study"))


@pytest.fixture(scope="module")
def page(example: Path) -> Page:
    return Page(example)


def _decoded(uri: str) -> np.ndarray:
    assert uri.startswith(("data:image/png;base64,", "data:image/webp;base64,"))
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))))


def test_what_users_wrote_is_text_and_never_markup(page: Page) -> None:
    scripts = [attributes for tag, attributes in page.elements if tag == "script"]
    assert [a.get("type") for a in scripts] == ["application/json", None]  # one comparison, the page's own
    assert not any(name.startswith("on") for _, attributes in page.elements for name in attributes)
    assert page.text.count(EVIL) >= 7  # study, title, row, words, note, caption, training image
    assert EVIL in page.comparisons[0]["methods"][2]
    assert not any("style" in attributes for _, attributes in page.elements)  # the policy would stop it


def test_the_page_refers_to_nothing_outside_itself(page: Page) -> None:
    for tag, attributes in page.elements:
        for name in ("src", "href", "srcset", "action", "data", "poster"):
            value = attributes.get(name)
            assert value is None or value.startswith(("data:", "#")), (tag, name, value)
    assert not re.search(r"url\(|@import", page.inside["style"][0])


def test_the_policy_names_its_own_style_and_script_and_nothing_else(page: Page) -> None:
    policy = next(a["content"] for tag, a in page.elements if tag == "meta" and "http-equiv" in a)
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    own = {"style-src": page.inside["style"][0], "script-src": page.inside["script"][-1]}
    for rule, text in own.items():
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert rules.pop(rule) == f"'sha256-{digest}'"
    none = "'none'"
    assert rules == {"default-src": none, "img-src": "data:", "base-uri": none, "form-action": none}


def test_measured_and_published_values_stand_beside_each_other(page: Page, example: Path) -> None:
    with open(example.parent / "results/table2_tidy.csv") as file:
        rows = [row for row in csv.DictReader(file) if row["metric"] == "psnr_y"]
    values = [a.get("data-value") for tag, a in page.elements if tag == "td"]
    for row in rows:
        if row["mean"]:
            assert f"{float(row['mean']):.2f}" in values
        if row["published"]:
            assert f"{float(row['published']):.2f}" in values
    assert {row["method"] for row in rows if row["published"]} >= {"SRDiff", "SRGAN"}


def test_intervals_are_those_of_the_differences(page: Page, example: Path) -> None:
    with open(example.parent / "results/differences.csv") as file:
        row = next(row for row in csv.DictReader(file) if row["metric"] == "psnr_y")
    assert row["words"] in page.text
    assert row["method"] == "one seed"
    assert f" one seed not decided [{float(row['trainings_low']):.2f}, " in page.text


def test_what_is_missing_is_said(page: Page) -> None:
    assert "Table 4: Not made" in page.text
    assert "snakemake --cores 8 results/table4.csv makes it" in page.text
    assert "Not drawn: figure8.png is not there." in page.text
    assert "Not measured: LPIPS (no weights)." in page.text
    assert "LPIPS: 1 not compared (no image that both were scored on)" in page.text
    headings = page.text.partition("Urban100 x4 Method")[2].partition("Differences and")[0]
    assert "SSIM-Y published" in headings
    assert "LPIPS" not in headings  # an empty column would only take room


def test_a_study_without_images_and_figures_still_has_a_page(example: Path, tmp_path: Path) -> None:
    only = {"table4": {"title": "Quoted", "metrics": ["psnr_y"], "rows": [{"published": "SRGAN"}]}}
    recipe = report_recipe(example_config(tables=only))
    page, study = tmp_path / "report.html", example.parent
    arguments = ["--differences", study / "results/differences.csv", "--results", study / "results"]
    arguments += ["--stores", study / "stores", "--out", page, "--recipe", recipe.text()]
    main(["report", *map(str, arguments)])
    for words in (
        "No figure was drawn.",
        "there are no images",
        "No table claims",
        "No trained model took part",
        "the training and test images were not compared",
    ):
        assert words in Page(page).text


def test_the_images_are_the_sampled_pixels_where_the_methods_differ_most(tmp_path: Path) -> None:
    page = make_example(tmp_path, example_config(report={"images": 3, "side": 40, "megabytes": 10}))
    (comparison,) = Page(page).comparisons
    assert comparison["title"] == "Urban100 x4"
    assert comparison["methods"][:2] == ["Bicubic", "SRDiff"]
    assert comparison["methods"][-1] == "HR (truth)"
    assert (comparison["left"], comparison["right"]) == (0, 2)  # bicubic, the first variant with masks
    # made so that the methods differ more from image to image, in the lower right corner
    assert [image["name"] for image in comparison["images"]] == list(NAMES[:-4:-1])
    assert comparison["note"].startswith("3 of 8 images (at most 3 of a data set, those on which PSNR-Y")
    for image in comparison["images"]:
        match = re.match(r"40 x 40 pixels of 120 x 88, from column (\d+), row (\d+)", image["cut"])
        assert match
        left, top = (int(number) for number in match.groups())
        assert left + 40 > 110
        assert top + 40 > 80
        for run, uri in zip(("bicubic-x4-s0/none", "srdiff-x4-s0/ema"), image["files"], strict=False):
            sampled = read_rgb(tmp_path / "results/samples" / run / "set" / f"{image['name']}.png")
            np.testing.assert_array_equal(_decoded(uri), sampled[top : top + 40, left : left + 40])
        assert image["values"][-1] == ""
        assert all(value.endswith(" dB") for value in image["values"][:-1])


def test_the_cap_holds_for_all_images_together_and_is_said(tmp_path: Path) -> None:
    page = make_example(tmp_path, example_config(report={"images": 8, "side": 384, "megabytes": 0.25}))
    (comparison,) = Page(page).comparisons
    assert sum(len(uri) for image in comparison["images"] for uri in image["files"]) <= 250_000
    assert comparison["note"].startswith(
        f"{len(comparison['images'])} of 8 images (0.25 MB for all comparisons"
    )
    assert 0 < len(comparison["images"]) < 8
    assert {image["cut"] for image in comparison["images"]} == {""}


def test_an_image_that_a_method_lacks_is_left_open(tmp_path: Path) -> None:
    page = make_example(tmp_path)
    (tmp_path / "results/samples/srdiff-x4-s0/ema/set/image3.png").unlink()
    recipe = comparisons(example_config())[0]
    picture = Comparison(recipe, page.parent / "results", page.parent / "stores").picture("image3", 384)
    assert [uri is None for uri in picture["files"]] == [False, True, False, False]


def test_an_image_that_changed_since_it_was_scored_is_not_shown(tmp_path: Path) -> None:
    make_example(tmp_path)
    path = tmp_path / "results/samples/srdiff-x4-s0/ema/set/image3.png"
    write_png(path, 255 - read_rgb(path))
    comparison = Comparison(comparisons(example_config())[0], tmp_path / "results", tmp_path / "stores")
    with pytest.raises(UserError, match=r"srdiff.*image3\.png: is not the file that was sampled"):
        comparison.picture("image3", 384)


@given(st.integers(8, 40), st.integers(8, 40), st.integers(1, 50), st.tuples(st.integers(0), st.integers(0)))
def test_a_window_has_the_size_asked_for_and_holds_what_differs(
    height: int, width: int, side: int, spot: tuple[int, int]
) -> None:
    one = np.full((height, width, 3), 100, np.uint8)
    other = one.copy()
    y, x = spot[0] % height, spot[1] % width
    other[y, x] = 200
    rows, columns = window([one, other, one], side)
    assert (rows.stop - rows.start, columns.stop - columns.start) == (min(side, height), min(side, width))
    assert rows.start <= y < rows.stop <= height
    assert columns.start <= x < columns.stop <= width


@given(st.lists(st.tuples(st.floats(0, 50), st.floats(0, 50)), min_size=1, max_size=8))
def test_the_order_is_by_spread_and_loses_no_image(values: list[tuple[float, float]]) -> None:
    names = [f"i{i}" for i in range(len(values))]
    methods = [dict(zip(names, column, strict=True)) for column in zip(*values, strict=True)]
    order = by_spread([*names, "unscored"], methods)
    assert sorted(order) == sorted([*names, "unscored"])
    assert order[-1] == "unscored"
    spreads = [abs(methods[0][name] - methods[1][name]) for name in order[:-1]]
    assert all(a >= b - 1e-9 for a, b in pairwise(spreads))


@pytest.mark.parametrize("kind", ["png", "webp"])
def test_a_data_uri_loses_nothing(kind: Literal["png", "webp"]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (7, 5, 3), np.uint8)
    np.testing.assert_array_equal(_decoded(data_uri(image, kind)), image)


def test_figures_are_embedded_with_their_captions_at_a_size_for_the_screen(page: Page) -> None:
    figure = next(a for tag, a in page.elements if tag == "img" and a.get("width"))
    assert _decoded(figure["src"] or "").shape == (400, 1600, 3)
    assert (figure["width"], figure["height"]) == ("1600", "400")
    assert (figure["alt"] or "").startswith("Figure 7. Masks")
    assert "Shrunk from 2400 x 600 pixels; figure7.png is the original." in page.text


def test_how_it_was_made(page: Page, example: Path) -> None:
    index = json.loads((example.parent / "stores/set/hr.json").read_text())
    text = page.text.partition("How it was made Study")[2]
    for part in (
        index["digest"],
        "e" * 64,
        "s" * 64,
        "high: fine",
        "A CPU",
        "all 100 steps",
        "torch ",
        "Seeds 0",
    ):
        assert part in text


def test_the_page_says_which_sets_were_compared_and_what_was_found(page: Page) -> None:
    found = f"left_{EVIL} and image3: a part of it (correlation 0.96), left out of training"
    assert f"Compared Images Found train and set 8 and 8 {found}" in page.text


def test_every_test_set_is_named_and_test_sets_that_share_a_photograph(tmp_path: Path) -> None:
    many = [overlap(set_b="many", image_b=f"i{i}", left_out="yes") for i in range(LISTED + 2)]
    shared = overlap(kind="test-test", set_a="set", image_a="'=1", set_b="many", left_out="")
    write_csv(tmp_path / "overlaps.csv", OVERLAP_COLUMNS, [*many, shared])
    images = {"train": 400, "set": 5, "many": 14, "blind": 0}
    view = overlaps_view(tmp_path / "overlaps.csv", images, "train", ("set", "many", "blind"))
    assert view is not None
    rows = {row["sets"]: row for row in view["rows"]}
    assert list(rows) == ["train and set", "train and many", "train and blind", "set and many"]
    assert [row["images"] for row in view["rows"]] == ["400 and 5", "400 and 14", "400 and 0", "5 and 14"]
    assert rows["train and set"]["pairs"] == []
    assert rows["train and set"]["none"] == "nothing in common"
    assert (len(rows["train and many"]["pairs"]), rows["train and many"]["more"]) == (LISTED, 2)
    assert rows["train and blind"]["none"] == "not compared: blind has no HR images"
    assert rows["set and many"]["pairs"] == ["=1 and image3: a part of it (correlation 0.96)"]


def test_the_commit_is_that_of_the_folder_and_says_what_was_not_committed(tmp_path: Path) -> None:
    assert commit(tmp_path) == "not in a git repository"
    (tmp_path / "file").write_text("1")
    identity = ["-c", "user.name=n", "-c", "user.email=e"]
    for command in (["init", "-q"], ["add", "file"], [*identity, "commit", "-qm", "first"]):
        subprocess.run(["git", "-C", str(tmp_path), *command], check=True)
    head = subprocess.check_output(["git", "-C", str(tmp_path), "rev-parse", "HEAD"], text=True).strip()
    assert commit(tmp_path).startswith(f"{head}, 20")
    assert "uncommitted" not in commit(tmp_path)
    (tmp_path / "file").write_text("2")
    assert commit(tmp_path).endswith(", with uncommitted changes")
    (tmp_path / "inner").mkdir()
    assert commit(tmp_path / "inner") == "not in a git repository"  # someone else's repository around it


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_can_be_read_on_every_ground(root: Path, theme: str) -> None:
    """WCAG 2.1, AA: a contrast of 4.5."""
    css = (root / "src/samdiffsr/reporting/page/report.css").read_text()
    blocks = re.findall(r":root \{([^}]*--ground[^}]*)\}", css)
    colours = dict(re.findall(r"--(\w+): (#\w{6})", blocks[theme == "dark"]))

    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    for text, ground in [
        ("text", "ground"), ("text", "raised"), ("text", "warning"), ("quiet", "ground"), ("quiet", "raised"),
        ("accent", "ground"), ("accent", "raised"), ("ground", "accent"),
    ]:  # fmt: skip
        one, other = sorted((luminance(colours[text]), luminance(colours[ground])))
        assert (other + 0.05) / (one + 0.05) >= 4.5, (text, ground)


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        ({"image": 3}, "report.image: unknown key (did you mean 'images'?)"),
        ({"images": 0}, "report.images: "),
        ({"side": 8}, "report.side: "),
    ],
)
def test_a_wrong_limit_is_one_line(limits: dict[str, int], words: str) -> None:
    with pytest.raises(UserError, match=re.escape(words)):
        example_config(report=limits)


def test_a_file_that_is_not_what_it_should_be_is_named(
    example: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results = example.parent / "results"
    arguments = ["report", "--differences", str(results / "table2_tidy.csv"), "--results", str(results)]
    arguments += ["--stores", str(example.parent / "stores"), "--out", str(example.parent / "other.html")]
    with pytest.raises(SystemExit):
        main([*arguments, "--recipe", report_recipe(example_config()).text()])
    assert "table2_tidy.csv: not a table's differences (its columns differ)" in capsys.readouterr().err
    assert not (example.parent / "other.html").exists()


def test_the_page_shows_every_variant_that_some_table_shows(root: Path) -> None:
    config = load_config(root / "config.yaml")
    shown = {method.run for comparison in comparisons(config) for method in comparison.methods}
    asked = {
        run.name
        for table in config.tables.values()
        for v in table.variants
        for run in config.runs(v, table.scale)
    }
    assert shown == asked
