"""Every command of the documentation: its program, options and targets exist; README's own are run.

What is not even parsed here stands in ELSEWHERE, with the reason.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from PIL import Image
from snakemake.cli import get_argument_parser

from samdiffsr.cli import app as program
from samdiffsr.cli.stage import Invocation
from samdiffsr.config.overlays import merged
from tests.workflow import ROOT, TINY, Workflow, pulled

FIRST = ("README.md", "CONTRIBUTING.md", "docs/index.md", "docs/start/")  # what a newcomer reads
PAGES = [
    "README.md",
    "CONTRIBUTING.md",
    *sorted(p.relative_to(ROOT).as_posix() for p in ROOT.glob("docs/**/*.md")),
]
ELSEWHERE = {
    "git": "needs a remote repository",
    "cd": "the shell's",
    "source": "the shell's",
    "pip": "installs packages: test_packaging.py builds and installs the wheel",
    "dvc": "needs a remote: test_colleague.py",
    "tensorboard": "a server that runs until it is stopped: test_watch.py reads what it shows",
    "python -m benchmarks": "measures for minutes: test_benchmarks.py",
    "python -m benchmarks.quality": "measures for minutes: test_benchmarks.py",
}


@dataclass(frozen=True)
class Command:
    """One command of a page, and the examples of config.yaml that stand on that page."""

    page: str
    line: int
    words: tuple[str, ...]
    examples: tuple[str, ...]

    @property
    def id(self) -> str:
        return f"{self.page}:{self.line}"

    def __str__(self) -> str:
        return f"{self.id}: {shlex.join(self.words)}"


def blocks(text: str, language: str) -> Iterator[tuple[int, str]]:
    """The code blocks of a page, with the number of their first line."""
    for match in re.finditer(rf"^( *)```{language}\n(.*?)^ *```$", text, re.M | re.S):
        yield text.count("\n", 0, match.start()) + 2, re.sub(f"^{match[1]}", "", match[2], flags=re.M)


def commands() -> Iterator[Command]:
    for page in PAGES:
        text = (ROOT / page).read_text(encoding="utf-8")
        examples = tuple(block for _, block in blocks(text, "yaml"))
        for start, block in blocks(text, "bash"):
            joined = re.sub(r"\\\n *", " ", block)  # one command over two lines
            for number, line in enumerate(joined.splitlines(), start):
                for part in line.split("&&"):
                    if words := shlex.split(part, comments=True):
                        yield Command(page, number, tuple(words), examples)


COMMANDS = list(commands())


def of(name: str) -> list[Any]:
    return [pytest.param(command, id=str(command)) for command in COMMANDS if command.words[0] == name]


def test_every_command_is_checked_or_marked() -> None:
    checked = ("samdiffsr", "snakemake", "make")
    marked = [tuple(words.split()) for words in ELSEWHERE]
    other = [c for c in COMMANDS if c.words[0] not in checked]
    assert [str(c) for c in other if not any(c.words[: len(words)] == words for words in marked)] == []
    assert [words for words in marked if not any(c.words[: len(words)] == words for c in other)] == []


@pytest.mark.parametrize("command", of("samdiffsr"))
def test_options_exist(command: Command) -> None:
    group: Any = typer.main.get_command(program.app)
    name, *arguments = command.words[1:]
    stage = group.commands[name]
    stage.make_context(name, list(arguments), obj=Invocation(arguments))


@pytest.mark.parametrize("command", of("make"))
def test_make_knows_the_target(command: Command) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in command.words[1:]:
        assert re.search(rf"^{target}:", makefile, re.M)
        assert re.search(rf"^# make {target} ", makefile, re.M), "not in the Makefile's own list"


def dry_runs() -> list[Any]:
    """Targets by what the call says of the configuration, for one dry run each; later pages are slow."""
    groups: dict[tuple[bool, tuple[str, ...]], list[str]] = {}
    for command in (param.values[0] for param in of("snakemake")):
        told = get_argument_parser().parse_args(command.words[1:])
        if told.configfile:
            continue  # test_own_data.py
        assert told.targets, f"{command}: an option has taken the targets"
        key = (command.page.startswith(FIRST), tuple(told.config or ()))
        groups.setdefault(key, []).extend(told.targets)
    return [
        pytest.param(
            sorted(set(targets)),
            told,
            marks=[] if first else [pytest.mark.slow],
            id=f"{'first' if first else 'later'}-{'-'.join(told) or 'demo'}",
        )
        for (first, told), targets in groups.items()
    ]


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Workflow:
    """The workflow with the variants and the mask sets that the pages add, and the demo's checkpoints."""
    folder = tmp_path_factory.mktemp("commands")
    added: dict[str, Any] = {}
    mask_sets: dict[str, Any] = {}
    for example in {example for command in COMMANDS for example in command.examples}:
        said = yaml.safe_load(example) or {}
        variants = said.get("variants", {})
        added |= {name: variant for name, variant in variants.items() if "base" in variant}
        mask_sets |= said.get("mask_sets", {})
    (folder / "added.yaml").write_text(yaml.safe_dump({"variants": added, "mask_sets": mask_sets}))
    workflow = Workflow.new(folder / "repository", folder / "added.yaml")
    pulled(ROOT / "checkpoints/demo", workflow.folder / "checkpoints/demo")
    return workflow


@pytest.mark.workflow
@pytest.mark.parametrize(("targets", "told"), dry_runs())
def test_targets_exist(fresh: Workflow, targets: list[str], told: tuple[str, ...]) -> None:
    done = fresh.dry(*targets, *(("--config", *told) if told else ()))
    assert done.code == 0, done.text[-3000:]


# README's, by its end: these tests; a day's training; all tables and figures (test_report_workflow.py)
UNRUN = ("make test", "--config study=small", "results/report.html")


@pytest.mark.workflow
@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_readme_from_top_to_bottom(tmp_path: Path) -> None:
    """As a newcomer does it, with trainings of a few steps."""
    folder = Workflow.new(tmp_path / "repository").folder
    for name in ("Makefile", "pyproject.toml"):
        (folder / name).write_bytes((ROOT / name).read_bytes())
    shutil.copytree(
        ROOT / "checkpoints", folder / "checkpoints", ignore=shutil.ignore_patterns("*.safetensors")
    )
    (folder / ".dvc").mkdir()
    shutil.copy(ROOT / ".dvc/config", folder / ".dvc")
    subprocess.run(["git", "init", "--quiet", str(folder)], check=True)
    bin_ = folder / ".venv" / "bin"
    bin_.mkdir(parents=True)
    for name in ("snakemake", "samdiffsr", "dvc", "python"):
        (bin_ / name).write_text(
            f'#!/bin/sh\nexec "{sys.executable}" -m {name} "$@"\n'.replace(" -m python", "")
        )
        (bin_ / name).chmod(0o755)
    (folder / ".venv" / ".ready").touch()  # what `make` would install
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    config = yaml.safe_load((folder / "config.yaml").read_text())
    for overlay in (TINY.read_text(), *(block for _, block in blocks(text, "yaml"))):
        config = merged(config, yaml.safe_load(overlay))
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    Image.new("RGB", (24, 20), "teal").save(folder / "photo.jpg")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PATH": f"{bin_}{os.pathsep}{os.environ['PATH']}"}
    said: dict[str, str] = {}
    for command in (c for c in COMMANDS if c.page == "README.md"):
        line = shlex.join(command.words)
        if line.endswith(UNRUN):
            continue
        done = subprocess.run(
            command.words, cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
        said[line] = done.stdout + done.stderr
        missing = command.words[1] == "doctor"  # its exit status says that nothing is trained yet
        assert missing or done.returncode == 0, f"{line}: {said[line][-3000:]}"
    demo = said["make demo"].splitlines()
    assert [line.split("|")[1].strip() for line in demo if line.startswith("| ")][1:] == rows_of_readme(text)
    assert Image.open(folder / "big.png").size == (96, 80)
    for _, block in blocks(text, "python"):
        subprocess.run((sys.executable, "-c", block), cwd=folder, env=environment, check=True)
    for path in re.findall(r"`(results/[\w./]+)`", text):
        assert (folder / path).exists(), path


def rows_of_readme(text: str) -> list[str]:
    """The methods of the demo's table."""
    table = text.partition("LR-PSNR (dB) |\n")[2].partition("\n\n")[0]
    return [row.split("|")[1].strip() for row in table.splitlines()[1:]]
