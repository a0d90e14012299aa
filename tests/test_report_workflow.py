"""The page and Snakemake's own report, made by the real workflow from one table of the tiny study."""

from __future__ import annotations

import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from samdiffsr.config.load import load_config
from samdiffsr.config.recipes.report import comparisons
from samdiffsr.workflow.availability import all_absences
from tests.browser import Browser
from tests.workflow import Workflow

pytestmark = pytest.mark.workflow
PAGE = "results/report.html"
# Any attempt to reach another machine ends the process that makes it.
NO_NETWORK = """
import os, socket, sys
def refuse(self, address, *rest):
    print("network: ", address, file=sys.stderr, flush=True)
    os._exit(99)
socket.socket.connect = socket.socket.connect_ex = refuse
socket.getaddrinfo = lambda *rest, **more: refuse(None, rest)
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Workflow:
    """A folder with the page of a part of tables 2 and 6. Not to be changed: take a copy."""
    workflow = Workflow.new(tmp_path_factory.mktemp("workflow") / "repository")
    path = workflow.folder / "config.yaml"
    config = yaml.safe_load(path.read_text())
    config["tables"] = {name: config["tables"][name] for name in ("table2", "table6")}
    config["tables"]["table2"] |= {"rows": ["bicubic", "sam_diffsr"]}
    config["tables"]["table2"]["differences"] = [{"of": "sam_diffsr", "minus": "bicubic"}]
    config["tables"]["table6"] |= {"rows": ["sam_diffsr"], "differences": []}
    config["figures"] = {"figure7": config["figures"]["figure7"]}
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    result = workflow("all")
    assert result.code == 0, result.text
    return workflow


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


def test_the_page_waits_for_every_table_figure_and_image(tmp_path: Path) -> None:
    workflow = Workflow.new(tmp_path / "repository")
    result = workflow.dry(PAGE)
    assert result.code == 0, result.text
    config = load_config(yaml.safe_load((workflow.folder / "config.yaml").read_text()))
    compared = comparisons(config, all_absences(config, workflow.folder))
    shown = {method.run for comparison in compared for method in comparison.methods}
    expected = {
        "gather": len(config.tables),
        "score": len(shown),
        "draw": len(config.figures),
        "report_page": 1,
        "show_report": 1,
    }
    assert {rule: result.jobs[rule] for rule in expected} == expected
    assert PAGE in workflow.dry("all").text


@pytest.mark.slow
def test_the_page_is_part_of_all_and_is_not_made_twice(finished: Workflow) -> None:
    page = (finished.folder / PAGE).read_text()
    assert page == (finished.folder / "results/demo/report.html").read_text()
    for words in (
        "Table 2: Comparison of SR methods",
        "SAM-DiffSR minus Bicubic",
        "Figure 7. Masks at each level of quality",
    ):
        assert words in page.replace("</strong>", "")
    assert finished.dry("all").nothing_to_do


@pytest.mark.slow
def test_a_label_makes_the_table_and_the_page_again_and_a_limit_the_page_alone(
    finished: Workflow, tmp_path: Path
) -> None:
    copy = finished.copy(tmp_path / "copy")
    copy.edit("config.yaml", "images: 12", "images: 1")
    assert copy.dry(PAGE).jobs == Counter(report_page=1, show_report=1)
    copy.edit("config.yaml", "label: Bicubic\n", "label: Plain\n")
    assert copy.dry(PAGE).jobs == Counter(gather=1, differences=1, report_page=1, show_report=1)
    copy.edit("src/samdiffsr/reporting/page/report.css", "--ground: #ffffff", "--ground: #fefefe")
    assert copy(PAGE).code == 0
    page = (copy.folder / PAGE).read_text()
    assert "--ground: #fefefe" in page
    assert "1 of 2 images (at most 1 of a data set" in page


@pytest.mark.slow
def test_snakemakes_report_has_every_table_and_figure_with_a_caption(
    finished: Workflow, tmp_path: Path, browser: Browser
) -> None:
    copy = finished.copy(tmp_path / "copy")
    (tmp_path / "guard").mkdir()
    (tmp_path / "guard/sitecustomize.py").write_text(NO_NETWORK)
    for name in ("report.html", "report.zip"):
        result = copy("all", "--report", name, python_path=tmp_path / "guard")
        assert result.code == 0, result.text
    text = (copy.folder / "report.html").read_text()
    kinds = [".csv", "_tidy.csv", "_differences.csv", ".md", ".tex"]
    files = [f"results/{table}{kind}" for table in ("table2", "table6") for kind in kinds]
    files += ["results/differences.csv", *(f"results/figures/figure7.{kind}" for kind in ("png", "pdf"))]
    for file in files:
        assert f'"{file}": ' in text
    assert text.count('"caption": "') == len(files)
    assert '"caption": ""' not in text
    assert "6: Masks that say nothing about a patch" in text
    assert "7: Masks at each level of quality" in text
    with zipfile.ZipFile(copy.folder / "report.zip") as archive:
        assert any(name.endswith("figure7.png") for name in archive.namelist())

    browser.open(copy.folder / "report.html")
    assert browser.requests == [(copy.folder / "report.html").resolve().as_uri()]
    assert "Tables" in browser.evaluate("document.body.innerText")
