"""The page in a real browser: it works, fetches nothing, fits a telephone."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.browser import Browser
from tests.report_example import make_example

DESKTOP, PHONE = (1280, 900), (390, 844)
COMPARISON = "document.querySelector('.comparison')"


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_example(tmp_path_factory.mktemp("study"))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile,
        Browser(Path(profile)) as browser,
    ):
        yield browser


@pytest.fixture
def page(browser: Browser, example: Path) -> Browser:
    """The page, freshly opened; at the end nothing was fetched beside it and nothing went wrong."""
    browser.requests.clear()
    browser.problems.clear()
    browser.open(example, *DESKTOP)
    yield browser
    assert browser.requests == [example.resolve().as_uri()]
    assert browser.problems == []


def _part(name: str) -> str:
    return f"{COMPARISON}.querySelector('[data-part=\"{name}\"]')"


def _box(page: Browser, element: str) -> dict[str, float]:
    """Place of an element in the window after it was scrolled into view."""
    page.evaluate(f"{element}.scrollIntoView({{block: 'center', behavior: 'instant'}})")
    return page.evaluate(f"{element}.getBoundingClientRect().toJSON()")


def _column(page: Browser, number: int) -> list[str]:
    cells = f"document.querySelectorAll('#table2 .sortable tbody tr > :nth-child({number})')"
    return page.evaluate(f"[...{cells}].slice(0, 4).map((cell) => cell.textContent.trim())")


def _choose(page: Browser, part: str, value: int) -> None:
    page.evaluate(f"{_part(part)}.value = {value}; {_part(part)}.dispatchEvent(new Event('change'))")


def _pixels(page: Browser, folder: Path, box: dict[str, float]) -> np.ndarray:
    image = np.asarray(Image.open(page.screenshot(folder / "shot.png")).convert("RGB"))
    rows = slice(round(box["top"]), round(box["bottom"]))
    return image[rows, round(box["left"]) : round(box["right"])].astype(int)


def test_the_page_opens_and_runs_nothing_that_users_wrote(page: Browser) -> None:
    assert page.evaluate("document.title") == "SAM-DiffSR, study made"
    assert page.evaluate("document.querySelectorAll('h2').length") == 5
    assert page.evaluate("[...document.images].every((image) => image.complete && image.naturalWidth > 0)")


def test_the_policy_stops_what_is_added(browser: Browser, example: Path) -> None:
    """What an escape that was forgotten would cost: neither a script nor a request."""
    browser.open(example, *DESKTOP)
    browser.requests.clear()
    browser.evaluate(
        """{
          const script = document.createElement("script");
          script.textContent = "document.title = 'run'";
          document.body.append(script, Object.assign(new Image(), {src: "http://127.0.0.1:9/x.png"}));
          const frame = Object.assign(document.createElement("iframe"), {src: "http://127.0.0.1:9/"});
          document.body.append(frame);
          fetch("http://127.0.0.1:9/").catch(() => null).then(() => null)
        }"""
    )
    assert browser.evaluate("document.title") == "SAM-DiffSR, study made"
    assert not [url for url in browser.requests if url.startswith("http") and not _blocked(browser, url)]


def _blocked(browser: Browser, url: str) -> bool:
    return any(url in problem and "Content Security Policy" in problem for problem in browser.problems)


def test_a_heading_sorts_by_value_and_back(page: Browser) -> None:
    original = _column(page, 1)
    assert [name.split()[0] for name in original] == ["Bicubic", "SRGAN", "SRDiff", "SAM-DiffSR"]
    heading = "document.querySelector('#table2 .sortable th:nth-child(2)')"
    seen = []
    for _ in range(3):
        page.evaluate(f"{heading}.querySelector('button').click()")
        seen.append((page.evaluate(f"{heading}.ariaSort"), [name.split()[0] for name in _column(page, 1)]))
    assert seen == [  # more PSNR is better, so the best comes first; an empty cell last either way
        ("descending", ["SAM-DiffSR", "SRDiff", "Bicubic", "SRGAN"]),
        ("ascending", ["Bicubic", "SRDiff", "SAM-DiffSR", "SRGAN"]),
        ("none", ["Bicubic", "SRGAN", "SRDiff", "SAM-DiffSR"]),
    ]


def test_the_keyboard_sorts_too_and_one_heading_at_a_time(page: Browser) -> None:
    for number, words in ((2, ["SAM-DiffSR", "SRDiff", "Bicubic", "SRGAN"]), (1, ["Bicubic", "SAM-DiffSR"])):
        page.evaluate(f"document.querySelector('#table2 th:nth-child({number}) button').focus()")
        page.key("Enter")
        assert [name.split()[0] for name in _column(page, 1)][: len(words)] == words
    sorts = (
        "[...document.querySelectorAll('#table2 .sortable')[0].tHead.rows[0].cells].map((c) => c.ariaSort)"
    )
    assert page.evaluate(sorts) == ["ascending", "none", "none", "none", "none"]


def test_numbers_sort_as_numbers(page: Browser) -> None:
    script = """{
      const table = document.querySelector("#table2 .sortable");
      const values = ["9", "-3", "", "100"];
      [...table.tBodies[0].rows].forEach((row, i) => { row.cells[1].dataset.value = values[i]; });
      table.querySelector("th:nth-child(2) button").click();
      [...table.tBodies[0].rows].map((row) => row.cells[1].dataset.value)
    }"""
    assert page.evaluate(script) == ["100", "9", "-3", ""]


def test_the_slider_shows_more_of_the_left_image(page: Browser, tmp_path: Path) -> None:
    _choose(page, "right", 3)  # HR
    box = _box(page, _part("stage"))
    views = {}
    for split in (0, 85, 100):
        page.evaluate(
            f"{_part('slider')}.value = {split}; {_part('slider')}.dispatchEvent(new Event('input'))"
        )
        views[split] = _pixels(page, tmp_path, box)[60:]  # below the tags
    # the images differ from 75 % of the width on; the line is 4 pixels wide with its shadow
    three_quarters, at, end = (round(part * views[0].shape[1]) for part in (0.75, 0.85, 1))
    left, right = slice(three_quarters, at - 4), slice(at + 4, end - 4)
    for part, same, other in ((left, 100, 0), (right, 0, 100)):
        np.testing.assert_array_equal(views[85][:, part], views[same][:, part])
        assert np.abs(views[85][:, part] - views[other][:, part]).mean() > 1


def test_dragging_and_the_keyboard_move_the_line(page: Browser) -> None:
    box = _box(page, _part("stage"))
    y = box["top"] + box["height"] / 2
    page.drag((box["left"] + box["width"] / 2, y), (box["left"] + box["width"] / 4, y))
    assert page.evaluate(f"parseFloat({_part('line')}.style.left)") == pytest.approx(25, abs=0.5)
    assert page.evaluate(f"Number({_part('slider')}.value)") == pytest.approx(25, abs=0.5)
    page.evaluate(f"{_part('slider')}.focus()")
    page.key("ArrowRight")
    page.key("ArrowRight")
    assert page.evaluate(f"parseFloat({_part('line')}.style.left)") == pytest.approx(26, abs=0.4)
    assert page.evaluate(f"{_part('slider')}.ariaValueText") == "26 % Bicubic"


def test_any_two_methods_and_any_image_can_be_chosen(page: Browser) -> None:
    data = f"JSON.parse({COMPARISON}.querySelector('script').textContent)"
    for image, left, right in ((0, 0, 2), (3, 1, 3), (7, 3, 0)):
        for part, value in (("image", image), ("left", left), ("right", right)):
            _choose(page, part, value)
        for part, value in (("left", left), ("right", right)):
            shown = f"{_part(f'{part}-side')}.firstElementChild"
            assert page.evaluate(f"{shown}.src === {data}.images[{image}].files[{value}]")
            assert page.evaluate(
                f"{shown}.alt === `${{{data}.images[{image}].name}}: ${{{data}.methods[{value}]}}`"
            )
            assert page.evaluate(f"{_part(f'{part}-tag')}.textContent.startsWith({data}.methods[{value}])")
    assert page.evaluate(f"{_part('left-tag')}.textContent") == "HR (truth)"
    assert page.evaluate(f"{_part('right-tag')}.textContent").startswith("Bicubic, 2")


def test_both_images_are_zoomed_and_moved_together(page: Browser) -> None:
    transform = f"{_part('{}-side')}.firstElementChild.style.transform"

    def transforms() -> set[str]:
        return {page.evaluate(transform.format(side)) for side in ("left", "right")}

    assert transforms() == {"scale(1) translate(0%, 0%)"}
    page.evaluate(f"{_part('in')}.click(); {_part('in')}.click()")
    assert transforms() == {"scale(4) translate(-37.5%, -37.5%)"}  # the middle stays
    assert page.evaluate(f"{_part('zoom')}.textContent") == "4×"
    box = _box(page, _part("stage"))
    start = box["left"] + 0.75 * box["width"], box["top"] + box["height"] / 2
    page.drag(start, (start[0] - box["width"] / 10, start[1]))
    assert transforms() == {"scale(4) translate(-40%, -37.5%)"}  # a tenth of the stage is 1/40 of the image
    page.drag(start, (start[0] - box["width"] / 10, start[1] - 8 * box["height"]))
    assert transforms() == {"scale(4) translate(-42.5%, -75%)"}  # not beyond the edge
    page.evaluate(f"{_part('stage')}.focus()")
    page.key("0")
    assert transforms() == {"scale(1) translate(0%, 0%)"}


def test_flicker_shows_the_two_in_turn_until_it_is_stopped(page: Browser) -> None:
    clip = f"{_part('left-side')}.style.clipPath"
    pause = "new Promise((done) => setTimeout(done, 800))"
    page.evaluate(f"{_part('flicker')}.click()")
    assert page.evaluate(f"{_part('flicker')}.ariaPressed") == "true"
    seen = []
    for _ in range(6):
        seen.append(page.evaluate(f"[{clip}, {_part('left-tag')}.hidden, {_part('right-tag')}.hidden]"))
        page.evaluate(pause)
    assert {tuple(view) for view in seen} == {
        ("inset(0px 0% 0px 0px)", False, True),
        ("inset(0px 100% 0px 0px)", True, False),
    }
    page.evaluate(f"{_part('flicker')}.click()")
    assert page.evaluate(f"[{_part('flicker')}.ariaPressed, {clip}]") == ["false", "inset(0px 50% 0px 0px)"]
    page.evaluate(f"{_part('stage')}.focus()")
    page.key(" ")  # by hand
    assert page.evaluate(clip) != "inset(0px 50% 0px 0px)"


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_the_page_fits_and_is_not_blank(
    page: Browser, example: Path, tmp_path: Path, size: tuple[int, int], dark: bool
) -> None:
    page.open(example, *size, dark=dark)
    page.requests.pop()
    assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
    assert page.evaluate("innerWidth") == size[0]  # a telephone zooms out of a page that is too wide
    everything = page.screenshot(tmp_path / "whole.png", whole=True)
    pixels = np.asarray(Image.open(everything).convert("L"))
    assert pixels.shape[0] > 2000
    assert (np.median(pixels) < 60) == dark
    for part in np.array_split(pixels, 8):
        assert part.std() > 3  # something in every eighth of the page
    keys = {
        "title": "document.querySelector('h1')",
        "warning": "document.querySelector('#comparable')",
        "links": "document.querySelector('nav')",
        "words": "document.querySelector('#words ul')",
        "table": "document.querySelector('#table2 .scroll')",
        "controls": f"{COMPARISON}.querySelector('.controls')",
        "stage": _part("stage"),
        "slider": _part("slider"),
        "figure": "document.querySelector('#figures .scroll')",
        "facts": "document.querySelector('#origin dl')",
    }
    boxes = {name: _page_box(page, element) for name, element in keys.items()}
    for name, box in boxes.items():
        assert box["width"] > 100, name
        assert box["height"] > 15, name
        assert box["left"] >= 0, name
        assert box["right"] <= size[0], name
    for above, below in zip(list(keys)[:-1], list(keys)[1:], strict=True):
        assert boxes[above]["bottom"] <= boxes[below]["top"] + 0.5, (above, below)
    buttons = [_page_box(page, _part(name)) for name in ("image", "left", "right", "out", "in", "flicker")]
    for i, one in enumerate(buttons):
        assert one["height"] >= 38  # for a finger
        assert one["right"] <= size[0]
        for other in buttons[:i]:
            apart = one["left"] >= other["right"] or other["left"] >= one["right"]
            assert apart or one["top"] >= other["bottom"] or other["top"] >= one["bottom"]


def _page_box(page: Browser, element: str) -> dict[str, float]:
    """Place of an element on the page; it must be seen."""
    assert page.evaluate(f"{element}.checkVisibility()"), element
    box: dict[str, Any] = page.evaluate(f"{element}.getBoundingClientRect().toJSON()")
    scrolled = page.evaluate("scrollY")
    return {**box, "top": box["top"] + scrolled, "bottom": box["bottom"] + scrolled}


def test_on_paper_everything_is_unfolded(page: Browser) -> None:
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.evaluate("[...document.querySelectorAll('details')].every((details) => details.open)")
    page(
        "Emulation.setEmulatedMedia",
        media="print",
        features=[{"name": "prefers-color-scheme", "value": "dark"}],
    )
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.evaluate(f"getComputedStyle({_part('slider')}).display") == "none"
    page("Emulation.setEmulatedMedia", media="", features=[])
