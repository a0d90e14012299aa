"""A private one-node Slurm for the tests: own ports and folders, fake GPUs, no database, no munge."""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from tests.workflow import ROOT

PROFILE = ROOT / "profiles" / "slurm" / "profile.yaml"
PROGRAMS = ("slurmctld", "slurmd", "sbatch", "srun", "squeue", "scancel", "sinfo")
CONFIGURATION = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
AuthType=auth/none
CredType=cred/none
StateSaveLocation={root}/state
SlurmdSpoolDir={root}/spool
SlurmctldPidFile={root}/slurmctld.pid
SlurmdPidFile={root}/slurmd.pid
SlurmctldLogFile={root}/slurmctld.log
SlurmdLogFile={root}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=sched_interval=1,batch_sched_delay=0,bf_interval=1
GresTypes=gpu
ReturnToService=2
MinJobAge=600
KillWait=30
SlurmctldTimeout=60
SlurmdTimeout=60
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory={memory} Gres=gpu:fake:2 State=UNKNOWN
PartitionName={partitions[0]} Nodes={host} Default=YES MaxTime=2000 State=UP
PartitionName={partitions[1]} Nodes={host} MaxTime=2000 State=UP
"""


@dataclass(frozen=True)
class Cluster:
    """A running Slurm; `environment` is what its commands and Snakemake need."""

    root: Path
    environment: dict[str, str]

    def ask(self, *command: str) -> str:
        """What a Slurm command prints."""
        done = subprocess.run(command, env={**os.environ, **self.environment}, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def jobs(self) -> list[str]:
        """Names of the jobs that wait or run."""
        states = "PENDING,RUNNING,COMPLETING,CONFIGURING,SUSPENDED,REQUEUED"
        return self.ask("squeue", "-h", "-o", "%i %j %k", "--states", states).splitlines()


def missing() -> str:
    """Why there can be no cluster here, or nothing."""
    absent = [name for name in PROGRAMS if shutil.which(name, path=_path()) is None]
    return f"no {absent[0]}: install Slurm to run this test (Debian, Ubuntu: slurm-wlm)" if absent else ""


def _path() -> str:
    return os.pathsep.join([os.environ["PATH"], "/usr/sbin", "/usr/local/sbin"])


@contextlib.contextmanager
def cluster(root: Path) -> Iterator[Cluster]:
    """Start Slurm in the folder `root`, and stop what was started.

    It has the partitions that profiles/slurm names.
    """
    for name in ("state", "spool", "bin"):
        (root / name).mkdir(parents=True)
    host = socket.gethostname().split(".")[0]
    profile = yaml.safe_load(PROFILE.read_text())
    partitions = [
        profile["default-resources"]["slurm_partition"],
        profile["set-resources"]["train_denoiser"]["slurm_partition"],
    ]
    settings = {
        "root": root,
        "user": getpass.getuser(),
        "host": host,
        "ports": _ports(2),
        "partitions": partitions,
        "cpus": os.cpu_count(),  # a node that has less than its line says is not used
        "memory": int(0.9 * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**20),
    }
    (root / "slurm.conf").write_text(CONFIGURATION.format(**settings))
    # each fake GPU needs a device file of its own
    devices = ("/dev/null", "/dev/zero")
    (root / "gres.conf").write_text(
        "".join(f"NodeName={host} Name=gpu Type=fake File={device}\n" for device in devices)
    )
    # The executor plugin drops SLURM_CONF before its inner srun.
    srun = root / "bin" / "srun"
    srun.write_text(f'#!/bin/sh\nSLURM_CONF={root}/slurm.conf exec {shutil.which("srun")} "$@"\n')
    srun.chmod(0o755)
    environment = {
        "SLURM_CONF": str(root / "slurm.conf"),
        "PATH": os.pathsep.join([str(root / "bin"), _path()]),
    }
    here = Cluster(root, environment)
    started = []
    try:
        for command in (["slurmctld", "-D", "-c"], ["slurmd", "-D", "-N", host]):
            program = shutil.which(command[0], path=_path())
            with open(root / f"{command[0]}.out", "wb") as out:
                started.append(
                    subprocess.Popen(
                        [str(program), *command[1:]],
                        env={**os.environ, **environment},
                        stdout=out,
                        stderr=out,
                        start_new_session=True,
                    )
                )
        _wait_until_idle(here)
        yield here
    finally:
        with contextlib.suppress(AssertionError):  # it did not start, or has none
            here.ask("scancel", "--user", getpass.getuser())
            _wait(lambda: not here.jobs(), 60)
        for process in reversed(started):
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()


def _wait_until_idle(here: Cluster) -> None:
    def idle() -> bool:
        environment = {**os.environ, **here.environment}
        command = ["sinfo", "-h", "-o", "%T"]
        states = subprocess.run(command, env=environment, capture_output=True, text=True).stdout.split()
        return set(states) == {"idle"}

    if not _wait(idle, 120):
        logs = [(here.root / name).read_text()[-2000:] for name in ("slurmctld.log", "slurmd.log")]
        raise AssertionError("Slurm did not start:\n" + "\n".join(logs))


def _wait(ready: Callable[[], bool], seconds: float) -> bool:
    """Whether it is ready before so many seconds are over."""
    deadline = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)
    return True


def _ports(count: int) -> list[int]:
    """Free ports, all different."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()
