"""The command line: fast, and one line for every mistake."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

from samdiffsr.cli import app as program
from samdiffsr.cli.stage import repeated, takes_several
from samdiffsr.core.errors import UserError
from tests.workflow import ROOT

STAGES: dict[str, Any] = typer.main.get_command(program.app).commands


def samdiffsr(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "samdiffsr", *arguments], capture_output=True, text=True, check=False
    )


def test_help_imports_none_of_the_heavy_packages() -> None:
    code = (
        "import sys; sys.argv = ['samdiffsr', '--help']\n"
        "try:\n    from samdiffsr.cli.app import main; main()\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'numpy', 'PIL', 'pydantic', 'skimage', 'yaml', 'rich'}\n"
        "print(sorted(heavy & set(sys.modules)))"
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
        (["trian-encoder"], "Did you mean 'train-encoder'"),
        (["upscale", "nowhere.jpg", "-o", "b.png", "--checkpoint", "c"], "nowhere.jpg: no such file"),
        (
            ["upscale", "src", "-o", "b", "--checkpoint", "c", "--memory", "0"],
            "'--memory': Input should be greater",
        ),
    ],
)
def test_a_mistake_is_one_line_and_a_failure(tmp_path: Path, arguments: list[str], words: str) -> None:
    done = samdiffsr(*arguments)
    assert done.returncode in (1, 2)
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("place", [0, 1, 3, 5])
def test_debug_shows_the_traceback_wherever_it_stands(place: int) -> None:
    arguments = ["prepare-hr", "--folder", "nowhere", "--out", "x"]
    done = samdiffsr(*arguments[:place], "--debug", *arguments[place:])
    assert "Traceback" in done.stderr
    assert "UserError" in done.stderr


def test_what_stands_after_two_dashes_is_no_option() -> None:
    done = samdiffsr("upscale", "-o", "x", "--checkpoint", "c", "--", "--debug")
    assert done.stderr.startswith("samdiffsr: error: --debug: no such file")


def test_the_command_line_itself_wrong_is_status_2_and_all_else_1() -> None:
    assert samdiffsr("prepare-hr", "--folder", "nowhere").returncode == 2
    assert samdiffsr("prepare-hr", "--folder", "nowhere", "--recipe", "{}", "--out", "x").returncode == 2
    assert samdiffsr().returncode == 2
    assert samdiffsr("prepare-hr", "--folder", "nowhere", "--out", "x").returncode == 1


@pytest.mark.parametrize(
    ("raised", "code"), [(KeyboardInterrupt(), 130), (UserError("x"), 1), (PermissionError(13, "no", "f"), 1)]
)
def test_how_a_stage_ends(monkeypatch: pytest.MonkeyPatch, raised: BaseException, code: int) -> None:
    def fail(_: object) -> None:
        raise raised

    monkeypatch.setattr("samdiffsr.data.demo.make_demo", fail)
    with pytest.raises(SystemExit) as left:
        program.main(["demo-data", "--out", "x"])
    assert left.value.code == code


def test_a_defect_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("samdiffsr.data.demo.make_demo", fail)
    with pytest.raises(ZeroDivisionError):
        program.main(["demo-data", "--out", "x"])


def test_a_closed_pipe_ends_it_without_a_word() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    code = (
        "import samdiffsr.data.demo as demo; from samdiffsr.cli.app import main\n"
        "demo.make_demo = lambda _: print('x' * 100_000, flush=True)\n"
        "main(['demo-data', '--out', 'x'])"
    )
    done = subprocess.run([sys.executable, "-c", code], stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert (done.returncode, done.stderr) == (1, "")


def test_threads_are_set_before_numpy_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    code = (
        "import os, sys; from samdiffsr.cli import app, data\n"
        "def seen(out): print('numpy' in sys.modules, os.environ['OMP_NUM_THREADS'])\n"
        "sys.modules['samdiffsr.data.demo'] = type(sys)('demo')\n"
        "sys.modules['samdiffsr.data.demo'].make_demo = seen\n"
        "app.main(['demo-data', '--out', 'x', '--threads', '3'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False 3\n"


# ---- lists of values ----


def test_an_option_of_several_values_takes_every_word_up_to_the_next_option() -> None:
    words = ["draw", "figure5", "--inputs", "a=b", "c=d", "--out", "x.png", "x.pdf", "--threads", "2"]
    assert repeated(words, {"--inputs", "--out"}) == [
        "draw", "figure5", "--inputs", "a=b", "--inputs", "c=d", "--out", "x.png", "--out", "x.pdf",
        "--threads", "2",
    ]  # fmt: skip


def test_what_is_no_value_of_a_list() -> None:
    assert repeated(["--parts", "--out", "x"], {"--parts"}) == ["--out", "x"]
    assert repeated(["--parts", "a", "--", "--parts", "b"], {"--parts"}) == [
        "--parts", "a", "--", "--parts", "b",
    ]  # fmt: skip
    assert repeated(["--parts=a", "b"], {"--parts"}) == ["--parts", "a", "--parts", "b"]
    assert repeated(["--set", "a=b", "table2"], {"--parts"}) == ["--set", "a=b", "table2"]


@given(st.lists(st.tuples(st.sampled_from(["--a", "--b", "--c"]), st.text("xy=", min_size=1)), max_size=8))
def test_repeating_the_option_by_hand_is_the_same(pairs: list[tuple[str, str]]) -> None:
    by_hand = [word for pair in pairs for word in pair]
    assert repeated(by_hand, {"--a", "--b"}) == by_hand


def test_the_help_marks_the_lists_and_only_those_are_lists() -> None:
    for stage in STAGES.values():
        for option in stage.params:
            if takes_several(option):
                assert option.multiple


# ---- the workflow calls it ----


def test_every_stage_and_option_that_the_rules_name_exists() -> None:
    text = "".join(path.read_text() for path in ROOT.glob("rules/*.smk"))
    text = re.sub(r'"\s*\n\s*"', " ", text)  # adjacent pieces of one command
    calls = re.findall(r"python -m samdiffsr ([a-z-]+)((?: [^\n]*)?)", text)
    assert len(calls) > 15
    for name, rest in calls:
        known = {opt for option in STAGES[name].params for opt in option.opts}
        assert set(re.findall(r"(?<!\S)--[a-z-]+", rest)) <= known, name


def test_every_stage_takes_threads() -> None:
    assert [name for name, stage in STAGES.items() if "threads" not in {p.name for p in stage.params}] == []


@pytest.mark.parametrize("name", ["", *STAGES])
def test_help_fits_80_columns_and_explains_every_option(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as left:
        program.main([*([name] if name else []), "-h"])
    assert left.value.code == 0
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 80
    if name:
        assert all(option.help for option in STAGES[name].params)
