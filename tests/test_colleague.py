"""One trains and releases, another pulls and makes the same table; nothing is ever trained by accident."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.workflow import ROOT, TINY, Result, Workflow

pytestmark = [pytest.mark.workflow, pytest.mark.slow]
TABLE = "results/table2.csv"
RELEASED = ("--config", "checkpoint_source=released")
TRAINING = {"train_encoder", "train_denoiser"}
VERSIONED = (".dvc/config", ".dvc/.gitignore", ".dvcignore", ".gitignore", "data.dvc", "data.files")


class Repository(Workflow):
    """A workflow's folder that is a git and DVC repository too."""

    environment: dict[str, str]

    def run(self, *command: str) -> str:
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        assert done.returncode == 0, f"{command}: {done.stdout}"
        return done.stdout

    def git(self, *arguments: str) -> str:
        return self.run("git", *arguments)

    def dvc(self, *arguments: str) -> str:
        return self.run(sys.executable, "-m", "dvc", *arguments)

    def samdiffsr(self, *arguments: str) -> str:
        return self.run(sys.executable, "-m", "samdiffsr", *arguments)

    def clone(self, folder: Path) -> Repository:
        self.git("clone", "-q", str(self.folder), str(folder))
        other = self.at(folder)
        other.dvc("remote", "add", "--local", "-d", "lab", str(self.folder.parent / "store"))
        return other

    def copy(self, folder: Path) -> Repository:
        shutil.copytree(self.folder, folder, symlinks=True)
        return self.at(folder)

    def at(self, folder: Path) -> Repository:
        other = Repository(folder, self.config)
        other.environment = {**self.environment, "PYTHONPATH": str(folder / "src")}
        return other

    def touch(self) -> None:
        """Fresh time stamps on every file under git, as a checkout gives them."""
        for name in self.git("ls-files", "-z").split("\0")[:-1]:
            os.utime(self.folder / name)

    def pull(self, *what: str) -> None:
        for part in what:
            time.sleep(0.02)
            self.dvc("pull", *self.expand(part))

    def expand(self, part: str) -> list[str]:
        if part == "checkpoints":
            return sorted(str(p.relative_to(self.folder)) for p in self.folder.glob("checkpoints/*/*.dvc"))
        return [part]

    def forget(self) -> None:
        """As if nothing had been pulled: no data, checkpoints or cache."""
        shutil.rmtree(self.folder / "data", ignore_errors=True)
        for path in self.folder.glob("checkpoints/*/*.safetensors"):
            path.unlink()
        shutil.rmtree(self.folder / ".dvc" / "cache", ignore_errors=True)


@pytest.fixture(scope="module")
def author(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """A: has trained, released, pushed and committed. Not to be changed: take a copy."""
    base = tmp_path_factory.mktemp("author")
    workflow = Repository(Workflow.new(base / "a").folder, TINY)
    names = {
        f"GIT_{who}_{what}": "a@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
    }
    workflow.environment = {
        **os.environ,
        **names,
        "GIT_CONFIG_GLOBAL": os.devnull,
        "DVC_GLOBAL_CONFIG_DIR": str(base / "dvc-global"),
        "DVC_SITE_CACHE_DIR": str(base / "dvc-site"),
        "DVC_NO_ANALYTICS": "1",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(base / "a" / "src"),
    }
    for name in VERSIONED:
        (workflow.folder / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(ROOT / name, workflow.folder / name)
    workflow.git("init", "-q")
    result = workflow(TABLE)
    assert result.code == 0, result.text
    workflow.samdiffsr("release", "table2", "--configfile", str(TINY))
    workflow.samdiffsr("track")
    assert workflow.git("status", "--short", "data.dvc").startswith("??")
    assert (workflow.folder / "data.dvc").read_bytes() == (ROOT / "data.dvc").read_bytes()
    workflow.git("add", "-A")
    workflow.git("commit", "-qm", "release")
    workflow.dvc("remote", "add", "--local", "-d", "lab", str(base / "store"))
    workflow.dvc("push")
    return workflow


@pytest.fixture(scope="module")
def restored(author: Repository) -> Repository:
    """B: has cloned, pulled, and made the table from released checkpoints. Not to be changed: take a copy."""
    clone = author.clone(author.folder.parent / "b")
    clone.pull("checkpoints", "data.dvc")
    result = clone(TABLE, *RELEASED)
    assert result.code == 0, result.text
    clone.first = result  # type: ignore[attr-defined]
    return clone


def test_the_colleague_gets_the_same_table_and_trains_nothing(
    author: Repository, restored: Repository
) -> None:
    assert (restored.folder / TABLE).read_bytes() == (author.folder / TABLE).read_bytes()
    jobs = restored.first.jobs  # type: ignore[attr-defined]
    assert jobs["sample"] == 7
    assert not jobs.keys() & {*TRAINING, "demo_data", "segment", "encode"}
    assert not (restored.folder / "results/demo/runs").exists()
    tidy = (restored.folder / "results/table2_tidy.csv").read_text()
    assert ",released," in tidy


def test_under_git_there_are_pointers_and_no_data(author: Repository) -> None:
    files = author.git("ls-files").split()
    assert [f for f in files if f.startswith("checkpoints")] == [
        "checkpoints/demo/encoder-default-x4-s0.safetensors.dvc",
        "checkpoints/demo/sam_diffsr-x4-s0.safetensors.dvc",
        "checkpoints/demo/srdiff-x4-s0.safetensors.dvc",
    ]
    assert not [f for f in files if f.startswith(("data/", "results/", "work/", ".dvc/cache"))]
    assert author.git("status", "--short") == ""


# ---- the situations: what a dry run wants to do ----

EVERYTHING = Counter(sample=7, score=4, score_sets=4, gather=1, show_table=1)
STORES = Counter(prepare_hr=1, prepare_lr=1)  # of the test set; training's are not needed
NOTHING = Counter()
Prepare = Callable[[Repository], object]


def unpulled(repository: Repository) -> None:
    """Back to a fresh clone."""
    repository.forget()
    for name in ("results/demo", "work", ".snakemake", "logs"):
        shutil.rmtree(repository.folder / name, ignore_errors=True)
    for path in repository.folder.glob("results/*.csv"):
        path.unlink()


def fresh_with(*parts: str) -> Prepare:
    def prepare(repository: Repository) -> None:
        unpulled(repository)
        repository.pull(*parts)

    return prepare


def again(*parts: str) -> Prepare:
    def prepare(repository: Repository) -> None:
        repository.forget()
        repository.pull(*parts)

    return prepare


def edited(path: str, old: str, new: str) -> Prepare:
    return lambda repository: repository.edit(path, old, new)


def repointed(repository: Repository) -> None:
    pointer = repository.folder / "checkpoints/demo/srdiff-x4-s0.safetensors.dvc"
    pointer.write_text(pointer.read_text() + "desc: another\n")


def stores_made_again(repository: Repository) -> None:
    shutil.rmtree(repository.folder / "work" / "stores")
    result = repository("data")
    assert result.code == 0, result.text


BORDER = edited("config.yaml", "\ndatasets:\n", "\nprotocol: {border: 4}\ndatasets:\n")
RATE = edited("config.yaml", "clip_grad: 1.0}", "clip_grad: 2.0}")

RELEASED_SITUATIONS: dict[str, tuple[Prepare, str, Counter[str] | str]] = {
    "fresh clone, nothing pulled": (
        unpulled,
        TABLE,
        "checkpoints/demo/encoder-default-x4-s0.safetensors is not here: fetch it with `dvc pull",
    ),
    "one run pulled, its scores asked": (
        fresh_with(
            "checkpoints/demo/encoder-default-x4-s0.safetensors", "checkpoints/demo/srdiff-x4-s0.safetensors"
        ),
        "results/demo/scores/srdiff-x4-s0/demo_test.csv",
        Counter(sample=2, score=1, demo_data=1) + STORES,
    ),
    "all checkpoints pulled, data absent": (
        fresh_with("checkpoints"),
        TABLE,
        EVERYTHING + STORES + Counter(demo_data=1),
    ),
    "checkpoints pulled, then data": (fresh_with("checkpoints", "data.dvc"), TABLE, EVERYTHING + STORES),
    "data pulled, then checkpoints": (fresh_with("data.dvc", "checkpoints"), TABLE, EVERYTHING + STORES),
    "second run": (lambda repository: None, TABLE, NOTHING),
    "all deleted and pulled again, data last": (again("checkpoints", "data.dvc"), TABLE, NOTHING),
    "all deleted and pulled again, checkpoints last": (again("data.dvc", "checkpoints"), TABLE, NOTHING),
    "every file under git touched": (Repository.touch, TABLE, NOTHING),
    "one pointer changed": (
        repointed,
        TABLE,
        Counter(sample=2, score=1, score_sets=1, gather=1, show_table=1),
    ),
    "the protocol changed": (BORDER, TABLE, Counter(score=4, gather=1, show_table=1)),
    "the training loop changed": (
        edited("src/samdiffsr/training/trainer.py", "import csv\n", "import csv\nimport string\n"),
        TABLE,
        NOTHING,
    ),
    "a training setting changed": (
        RATE,
        TABLE,
        "was trained with training.clip_grad 1.0, config.yaml says 2.0",
    ),
    "the training images changed": (
        edited("src/samdiffsr/data/manifests/demo.csv", "train/rocket.png,640", "train/rocket.png,641"),
        TABLE,
        "encoder-default-x4-s0.safetensors: was trained on other images than demo_train has",
    ),
    "a checkpoint cut short": (
        lambda repository: (repository.folder / "checkpoints/demo/srdiff-x4-s0.safetensors").write_bytes(
            b"short"
        ),
        TABLE,
        "checkpoints/demo/srdiff-x4-s0.safetensors: damaged",
    ),
}


@pytest.mark.parametrize("situation", RELEASED_SITUATIONS)
def test_released_checkpoints_are_never_trained(restored: Repository, tmp_path: Path, situation: str) -> None:
    prepare, target, expected = RELEASED_SITUATIONS[situation]
    repository = restored.copy(tmp_path / "copy")
    prepare(repository)
    check(repository.dry(target, *RELEASED), expected)


TRAINED_SITUATIONS: dict[str, tuple[Prepare, tuple[str, ...], Counter[str] | str]] = {
    "author, second run": (lambda repository: None, (TABLE,), NOTHING),
    "author, from trained to released": (
        lambda repository: None,
        (TABLE, *RELEASED),
        Counter(sample=6, score=3, score_sets=3, gather=1, show_table=1),
    ),
    "author, every file under git touched": (Repository.touch, (TABLE,), NOTHING),
    "author, data pulled again": (again("data.dvc"), (TABLE,), NOTHING),
    # with a border, test images must be larger
    "author, the protocol changed": (
        BORDER,
        (TABLE,),
        Counter(check_split=1, overlap=1, score=4, gather=1, show_table=1),
    ),
    "author, caches deleted and made again": (stores_made_again, (TABLE,), NOTHING),
}


@pytest.mark.parametrize("situation", TRAINED_SITUATIONS)
def test_nothing_is_trained_by_accident(author: Repository, tmp_path: Path, situation: str) -> None:
    prepare, arguments, expected = TRAINED_SITUATIONS[situation]
    repository = author.copy(tmp_path / "copy")
    prepare(repository)
    check(repository.dry(*arguments), expected)


def check(result: Result, expected: Counter[str] | str) -> None:
    if isinstance(expected, str):
        assert result.code != 0
        assert expected in result.text
        return
    assert result.code == 0, result.text
    assert not result.jobs.keys() & TRAINING
    assert result.jobs == expected, result.text
    if not expected:
        assert result.nothing_to_do


def test_training_happens_when_it_is_asked_for(
    restored: Repository, author: Repository, tmp_path: Path
) -> None:
    """B switches to trained: everything, once; one target alone: only what it needs. A changes a setting."""
    assert restored.dry(TABLE).jobs.keys() >= TRAINING
    one = restored.dry("results/demo/scores/srdiff-x4-s0/demo_test.csv")
    assert (one.jobs["train_encoder"], one.jobs["train_denoiser"], one.jobs["segment"]) == (1, 1, 0)
    repository = author.copy(tmp_path / "copy")
    RATE(repository)
    jobs = repository.dry(TABLE).jobs
    assert (jobs["train_encoder"], jobs["train_denoiser"]) == (0, 2)


def test_training_without_its_images_is_one_line(restored: Repository, tmp_path: Path) -> None:
    repository = restored.copy(tmp_path / "copy")
    repository.edit(
        "config.yaml", "{folder: data/demo/train, source: demo}", "{folder: data/mine, source: local}"
    )
    target = "results/demo/encoders/default-x4-s0/model.safetensors"
    check(repository.dry(target), "dataset demo_train: data/mine: no such folder of images")


def test_a_model_trained_otherwise_is_refused_when_it_is_used(restored: Repository, tmp_path: Path) -> None:
    """Not only planned: the run stops before it samples, and leaves the old table."""
    repository = restored.copy(tmp_path / "copy")
    before = (repository.folder / TABLE).read_bytes()
    RATE(repository)
    result = repository(TABLE, *RELEASED)
    assert result.code != 0
    assert "checkpoints/demo/srdiff-x4-s0.safetensors: was trained with training.clip_grad" in result.text
    assert (repository.folder / TABLE).read_bytes() == before
