"""A copy of the repository's workflow in a scratch folder, and Snakemake on it, for the tests."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from samdiffsr.checkpoints.dvc import read_pointer
from samdiffsr.config.overlays import merged

ROOT = Path(__file__).resolve().parent.parent
PARTS = ("Snakefile", "config.yaml", "rules", "src", "envs", "profiles", "paper", "report")
TINY = ROOT / "tests" / "configs" / "tiny.yaml"


def tiny(path: Path, **changes: Any) -> Path:
    """The tiny configuration with other values, written to `path`; mappings are merged key by key."""
    config = merged(yaml.safe_load(TINY.read_text()), changes)
    path.write_text(yaml.safe_dump(config))
    return path


def pulled(given: Path, folder: Path) -> None:
    """A folder of released models as `dvc pull -r project` brings it."""
    shutil.copytree(given, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    for path in folder.glob("*.dvc"):
        pointer = read_pointer(path)
        assert pointer["remote"] == "project"
        stored = ROOT / "checkpoints/store/files/md5" / pointer["md5"][:2] / pointer["md5"][2:]
        shutil.copyfile(stored, path.with_suffix(""))


@dataclass
class Result:
    """What a call of Snakemake printed."""

    code: int
    text: str

    @property
    def jobs(self) -> Counter[str]:
        """Rule -> number of jobs, out of the statistics that a dry run prints."""
        stats = re.search(r"^Job stats:\n(.*?)^total", self.text, re.M | re.S)
        rows = re.findall(r"^(\w+) +(\d+)$", stats.group(1), re.M) if stats else []
        return Counter({name: int(number) for name, number in rows})

    @property
    def nothing_to_do(self) -> bool:
        return self.code == 0 and "Nothing to be done" in self.text


class Workflow:
    """The workflow in `folder`, run with the tiny configuration unless `config` says otherwise."""

    def __init__(self, folder: Path, config: Path = TINY) -> None:
        self.folder, self.config = folder, config

    @classmethod
    def new(cls, folder: Path, config: Path = TINY) -> Workflow:
        """A fresh copy of the repository's workflow."""
        folder.mkdir(parents=True)
        for part in PARTS:
            source = ROOT / part
            if source.is_dir():
                ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
                shutil.copytree(source, folder / part, ignore=ignored)
            else:
                shutil.copy2(source, folder / part)
        return cls(folder, config)

    def copy(self, folder: Path) -> Workflow:
        """This folder with all results and Snakemake's records, modification times kept."""
        shutil.copytree(self.folder, folder, symlinks=True)
        return Workflow(folder, self.config)

    def __call__(self, *arguments: str, cores: int = 2, python_path: Path | None = None) -> Result:
        with self.start(*arguments, cores=cores, python_path=python_path, stdout=subprocess.PIPE) as process:
            try:
                text, _ = process.communicate()
            except BaseException:  # the test's own time limit
                process.kill()
                raise
        return Result(process.returncode, text)

    def start(
        self,
        *arguments: str,
        cores: int = 2,
        python_path: Path | None = None,
        stdout: Any = subprocess.DEVNULL,
        **more: Any,
    ) -> subprocess.Popen[str]:
        """Start Snakemake, and do not wait for it."""
        command = [sys.executable, "-m", "snakemake", "--cores", str(cores), *arguments]
        command += ["--configfile", str(self.config)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        environment.pop("PYTHONPATH", None)
        if python_path is not None:
            environment["PYTHONPATH"] = str(python_path)
        return subprocess.Popen(
            command,
            cwd=self.folder,
            env=environment,
            text=True,
            stdout=stdout,
            stderr=subprocess.STDOUT,
            **more,
        )

    def dry(self, *arguments: str) -> Result:
        return self("-n", *arguments)

    def edit(self, path: str, old: str, new: str) -> None:
        """Replace text in one of the copied files; the text must be there."""
        file = self.folder / path
        text = file.read_text()
        assert old in text, f"{path} no longer holds {old!r}"
        file.write_text(text.replace(old, new))
