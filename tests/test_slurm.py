"""The workflow on a real Slurm of one node: a table, a time limit, a cancelled workflow."""

from __future__ import annotations

import contextlib
import csv
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.slurm import Cluster, cluster, missing
from tests.workflow import Workflow, tiny

pytestmark = [
    pytest.mark.workflow,
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(bool(missing()), reason=missing() or "Slurm is here"),
]
RUN = "sam_diffsr-x4-s0"
# the profile as it is, but for a cluster without a database on a local disk
SLURM = (
    "--workflow-profile", "profiles/slurm", "--slurm-status-command", "squeue",
    "--slurm-init-seconds-before-status-checks", "1", "--latency-wait", "10",
)  # fmt: skip


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster(tmp_path_factory.mktemp("slurm")) as running, pytest.MonkeyPatch.context() as patch:
        for name, value in running.environment.items():
            patch.setenv(name, value)
        yield running


def _wait(ready: Callable[[], object], process: subprocess.Popen[str], log: Path) -> None:
    while not ready():
        assert process.poll() is None, log.read_text()
        time.sleep(0.5)


def test_a_table(slurm: Cluster, tmp_path: Path) -> None:
    workflow = Workflow.new(tmp_path / "repository")
    table = {"rows": ["bicubic", "sam_diffsr"], "metrics": ["psnr_y"], "differences": []}
    study = {"gpus": 1, "sampling": {"weights": ["ema"]}, "sample_shards": 2}
    workflow.config = tiny(tmp_path / "config.yaml", studies={"demo": study}, tables={"table2": table})
    result = workflow("results/table2.csv", *SLURM)
    assert result.code == 0, result.text
    with open(workflow.folder / "results/table2.csv", newline="") as file:
        rows = {row["Method"]: row for row in csv.DictReader(file)}
    assert rows["Bicubic"]["Demo PSNR-Y (dB)"] == "29.22"
    assert float(rows["SAM-DiffSR"]["Demo PSNR-Y (dB)"]) > 0
    assert "has been submitted with SLURM jobid" in result.text
    assert slurm.jobs() == []
    # where the table was made is not what it holds
    local = workflow.dry("results/table2.csv")
    assert local.nothing_to_do, local.text


def _hear_sigint() -> None:
    """What a shell starts in the background is deaf to it, and so are its children."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_a_training_that_runs_out_of_time_is_saved_and_goes_on_and_a_cancelled_workflow_leaves_no_job(
    slurm: Cluster, tmp_path: Path
) -> None:
    workflow = Workflow.new(tmp_path / "repository")
    endless = {"demo": {"gpus": 1, "training": {"steps": 10_000_000}}}
    workflow.config = tiny(tmp_path / "config.yaml", studies=endless, allow_slow=True)
    model = f"results/demo/runs/{RUN}/model.safetensors"
    encoder = "results/demo/encoders/default-x4-s0/model.safetensors"
    values = "work/encodings/demo_train/felzenszwalb_fine/rope-width-region-sum-zero.npz"
    prepared = workflow(encoder, values)
    assert prepared.code == 0, prepared.text
    log, told = workflow.folder / f"logs/demo/train/{RUN}.log", tmp_path / "snakemake.log"
    with open(told, "w") as out:
        # the option takes the place of all that the profile sets
        limit = ("--set-resources", "train_denoiser:runtime=2", "train_denoiser:slurm_partition=gpu")
        process = workflow.start(
            model, *SLURM, *limit, stdout=out, start_new_session=True, preexec_fn=_hear_sigint
        )
        try:
            _wait(lambda: log.exists() and "goes on after" in log.read_text(), process, told)
            assert f"{RUN}: stopped by SIGTERM after step" in told.read_text()
            assert "the state is saved" in told.read_text()
            asked = "Partition:10,tres-per-job:30,tres-alloc:100"
            partition, gpus, rest = slurm.ask("squeue", "-h", "-t", "RUNNING", "-O", asked).split()
            assert (partition, gpus) == ("gpu", "gres:gpu:1")
            memory = int(rest.partition("mem=")[2].partition("M")[0])
            assert memory > 3000  # the study's: it grows with the attempts
            process.send_signal(signal.SIGINT)
            assert process.wait(300) != 0
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    deadline = time.monotonic() + 120
    while slurm.jobs() and time.monotonic() < deadline:
        time.sleep(1)
    assert slurm.jobs() == []
    assert list((workflow.folder / f"work/demo/train/{RUN}").rglob("state-*.pt"))
    assert not (workflow.folder / model).exists()
