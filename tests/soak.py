"""Four workflows and two GPUs under random kills, for as long as one likes.

    python -m tests.soak --minutes 30

Two clones share `data/`. In each, two studies are made at once. Whatever works is killed at random moments
and started again by the same command. In the end every table has the bytes of an undisturbed run; no job that
Snakemake called finished was run again, and no training went back behind its newest sealed checkpoint.
Beside them, processes take the two GPUs of a made-up machine and die: no GPU is ever taken twice.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import yaml

from samdiffsr.config.overlays import merged
from tests.workflow import ROOT, TINY, Workflow

STUDIES = ("demo", "second")
STEPS = 1200  # a checkpoint is saved every 500


def configuration(path: Path) -> Path:
    """Two studies of one small table each."""
    base = yaml.safe_load((ROOT / "config.yaml").read_text())["studies"]["demo"]
    study = merged(base, yaml.safe_load(TINY.read_text())["studies"]["demo"])
    study = merged(study, {"training": {"steps": STEPS}, "sampling": {"weights": ["ema"]}})
    table = {"rows": ["bicubic", "srdiff", "sam_diffsr"], "metrics": ["psnr_y"], "differences": []}
    config = merged(
        yaml.safe_load(TINY.read_text()),
        {"studies": {"demo": study, "second": merged(study, {"seeds": [3]})}, "tables": {"table2": table}},
    )
    path.write_text(yaml.safe_dump(config))
    return path


# ---- what Snakemake's logs say ----


def finished_twice(folder: Path, since: float) -> list[str]:
    """Outputs of jobs that the Snakemakes in a folder called finished more than once."""
    outputs: Counter[str] = Counter()
    for log in (folder / ".snakemake" / "log").glob("*.snakemake.log"):
        if log.stat().st_mtime < since:
            continue
        text = log.read_text(errors="replace")
        jobs = {
            number: made
            for made, number in re.findall(r"^    output: (.+?)$.*?^    jobid: (\d+)$", text, re.M | re.S)
        }
        outputs.update(jobs[n] for n in set(re.findall(r"^Finished jobid: (\d+)", text, re.M)) if n in jobs)
    return sorted(made for made, times in outputs.items() if times > 1)


def checkpoints(folder: Path, study: str) -> dict[str, int]:
    """Training -> the step of its newest sealed checkpoint."""
    newest: dict[str, int] = {}
    for seal in (folder / "work" / study / "train").rglob("state-*.json"):
        name = seal.relative_to(folder / "work" / study / "train").parts[0]
        newest[name] = max(newest.get(name, 0), int(seal.stem.removeprefix("state-")))
    return newest


# ---- workflows ----


@dataclass
class Arm:
    """A study in a clone, started again whenever it was killed."""

    workflow: Workflow
    study: str
    process: subprocess.Popen[str] | None = None
    newest: dict[str, int] = field(default_factory=dict)  # checkpoints when it was killed
    started: float = 0.0
    done: bool = False

    @property
    def table(self) -> Path:
        return self.workflow.folder / "results" / self.study / "table2.csv"

    def start(self) -> None:
        out = self.workflow.folder / f"{self.study}.txt"
        self.started = time.time()
        with out.open("w") as said:
            self.process = self.workflow.start(
                f"results/{self.study}/table2.csv", "--config", f"study={self.study}",
                cores=1, stdout=said, start_new_session=True,
            )  # fmt: skip

    def kill(self) -> None:
        """`kill -9` to Snakemake and whatever it started."""
        assert self.process is not None
        for living in session(self.process.pid):
            living.kill()
        self.process.wait()
        while any(True for _ in session(self.process.pid)):
            time.sleep(0.01)
        self.check_resumed()
        self.newest = checkpoints(self.workflow.folder, self.study)
        self.process = None

    def check_resumed(self) -> None:
        """No training of this start began behind the checkpoint that it had."""
        for name, step in self.newest.items():
            log = self.workflow.folder / "logs" / self.study / "train" / f"{name}.log"
            if not log.exists() or log.stat().st_mtime < self.started:
                continue
            if began := re.search(r"goes on after (\d+) of", log.read_text(errors="replace")):
                assert int(began[1]) >= step, f"{log}: went on after {began[1]}, step {step} was saved"
            else:
                assert "step" not in log.read_text(), f"{log}: began anew, step {step} was saved"

    def ended(self) -> bool:
        """Whether it has ended by itself; it must have made its table, or been refused by another's lock."""
        assert self.process is not None
        if self.process.poll() is None:
            return False
        code, self.process = self.process.returncode, None
        text = (self.workflow.folder / f"{self.study}.txt").read_text()
        self.check_resumed()
        self.newest = checkpoints(self.workflow.folder, self.study)
        if code != 0:
            assert "cannot be locked" in text, text
            return False
        assert self.table.exists(), text
        self.done = True
        return True


def session(leader: int) -> Iterator[psutil.Process]:
    """The living processes of a session."""
    for each in psutil.process_iter():
        with contextlib.suppress(psutil.Error, ProcessLookupError):
            if os.getsid(each.pid) == leader and each.status() != psutil.STATUS_ZOMBIE:
                yield each


# ---- GPUs ----

TAKE = (
    "import os, sys; from pathlib import Path; from samdiffsr.core.gpus import take_gpus\n"
    "take_gpus(1, Path('driver'))\n"
    "print(os.environ.get('CUDA_VISIBLE_DEVICES', 'none'), flush=True); sys.stdin.read()"
)


class Gpus:
    """A made-up machine of two GPUs, and processes that want one each."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.holders = folder, dict[str, subprocess.Popen[str]]()
        for gpu in range(2):
            (folder / "driver" / f"0000:{gpu:02x}").mkdir(parents=True)

    def come(self) -> None:
        process = subprocess.Popen(
            [sys.executable, "-c", TAKE], cwd=self.folder, text=True, env=alone(),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        assert process.stdout is not None
        gpu = process.stdout.readline().strip()
        if gpu == "none":
            assert len(self.holders) == 2, "a free GPU was not given"
            process.kill()
            process.wait()
        else:
            assert gpu not in self.holders, f"GPU {gpu} was given twice"
            self.holders[gpu] = process

    def go(self, chance: random.Random) -> None:
        if self.holders:
            process = self.holders.pop(chance.choice(sorted(self.holders)))
            process.kill()
            process.wait()

    def close(self) -> None:
        while self.holders:
            self.go(random.Random(0))


def alone() -> dict[str, str]:
    from samdiffsr.core.gpus import DECIDED

    return {key: value for key, value in os.environ.items() if key not in DECIDED}


# ---- the soak ----


def soak(folder: Path, minutes: float, seed: int) -> Counter[str]:
    """Run it in an empty folder; what was counted.

    Raises:
        AssertionError: something was lost, made twice or made otherwise.
    """
    chance, count = random.Random(seed), Counter[str]()
    config = configuration(folder / "soak.yaml")
    undisturbed = Workflow.new(folder / "undisturbed", config)
    for study in STUDIES:
        result = undisturbed(f"results/{study}/table2.csv", "--config", f"study={study}")
        assert result.code == 0, result.text
    right = {study: _csvs(undisturbed.folder / "results" / study) for study in STUDIES}

    (folder / "data").mkdir()
    clones = [Workflow.new(folder / name, config) for name in ("one", "two")]
    for clone in clones:
        (clone.folder / "data").symlink_to(folder / "data")
    arms = [Arm(clone, study) for clone in clones for study in STUDIES]
    gpus, begun, end = Gpus(folder / "machine"), time.time(), time.time() + 60 * minutes
    try:
        while True:
            for arm in arms:
                if arm.process is None and not arm.done:
                    arm.start()
            time.sleep(chance.uniform(0.2, 4))
            for arm in arms:
                if arm.process is not None and arm.ended():
                    count["tables finished"] += 1
                    assert _csvs(arm.table.parent) == right[arm.study], arm.table
            gpus.come() if chance.random() < 0.5 else gpus.go(chance)
            working = [arm for arm in arms if arm.process is not None]
            if time.time() < end and working and chance.random() < 0.3:
                chance.choice(working).kill()
                count["kills"] += 1
            for clone in clones:
                if all(arm.done for arm in arms if arm.workflow is clone):
                    assert finished_twice(clone.folder, begun) == []
                    if time.time() < end:  # once more from the start
                        count["clones emptied"] += 1
                        for part in ("results", "work", "logs", ".snakemake"):
                            shutil.rmtree(clone.folder / part)
                        for arm in arms:
                            if arm.workflow is clone:
                                arm.done, arm.newest = False, {}
            if all(arm.done for arm in arms) and time.time() >= end:
                break
    finally:
        gpus.close()
        for arm in arms:
            if arm.process is not None:
                arm.kill()
    return count


def _csvs(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*.csv"))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="empty; default: a temporary one")
    told = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with tempfile.TemporaryDirectory() as scratch:
        count = soak(told.folder or Path(scratch), told.minutes, told.seed)
    print(", ".join(f"{number} {what}" for what, number in count.items()))


if __name__ == "__main__":
    main()
