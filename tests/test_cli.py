"""The command line: fast, and one line for every mistake."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


def samdiffsr(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "samdiffsr", *arguments], capture_output=True, text=True, check=False
    )


def test_help_imports_none_of_the_heavy_packages() -> None:
    code = (
        "import sys; sys.argv = ['samdiffsr', '--help']\n"
        "try:\n    from samdiffsr.cli.app import main; main()\n"
        "except SystemExit: pass\n"
        "print(sorted({'torch', 'numpy', 'PIL', 'pydantic', 'skimage', 'yaml'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert "train-denoiser" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["prepare-hr", "--folder", "nowhere", "--out", "x"], "nowhere: no such folder"),
        (
            ["prepare-lr", "--hr", "nowhere", "--out", "x", "--recipe", '{"scale": 4, "rounding": "end"}'],
            "nowhere",
        ),
        (["encode", "--labels", "nowhere", "--out", "x", "--recipe", "{}"], "nowhere"),
        (["prepare-lr", "--hr", "a", "--out", "b", "--recipe", "{"], "not valid JSON"),
        (["prepare-lr", "--hr", "a", "--out", "b", "--recipe", "3"], "must be a JSON object"),
        (
            ["segment", "--source", "a", "--out", "b", "--recipe", "{}", "--shard", "4/4"],
            "PART must be 0 to 3",
        ),
        (["segment", "--source", "a", "--out", "b", "--recipe", "{}", "--shard", "one"], "PART/PARTS"),
        (["trian-encoder"], "invalid choice"),
        (["upscale", "nowhere.jpg", "-o", "b.png", "--checkpoint", "c"], "nowhere.jpg: no such file"),
        (["upscale", "src", "-o", "b", "--checkpoint", "c", "--memory", "0"], "whole number > 0"),
    ],
)
def test_a_mistake_is_one_line_and_a_failure(tmp_path: Path, arguments: list[str], words: str) -> None:
    done = samdiffsr(*arguments)
    assert done.returncode != 0
    assert words in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_debug_shows_the_traceback() -> None:
    done = samdiffsr("--debug", "prepare-hr", "--folder", "nowhere", "--out", "x")
    assert "Traceback" in done.stderr
    assert "UserError" in done.stderr
