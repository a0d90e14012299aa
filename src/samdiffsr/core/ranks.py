"""Whether this process is one of several that were started together, by torchrun or by srun."""

from __future__ import annotations

import os
import re
from typing import NamedTuple

from samdiffsr.core.errors import UserError

NO_STEP = 0xFFFFFFF0  # step numbers from here on are Slurm's own: of the batch script, of a shell


class Ranks(NamedTuple):
    """The processes of one training and the place of this one among them."""

    world: int
    rank: int
    local_world: int  # on this node
    local_rank: int
    nodes: int
    node: int


ALONE = Ranks(1, 0, 1, 0, 1, 0)


def ranks() -> Ranks:
    """What the launcher says; `ALONE` where there was none.

    An allocation of several tasks is no launcher: its variables are there for every process in it, also for
    one that was started once. Only a step of srun starts as many as it says.

    Raises:
        UserError: srun put unequal numbers of processes on its nodes.
    """
    env = os.environ
    if "TORCHELASTIC_RUN_ID" in env:
        world, rank, local_world, local_rank = (
            int(env[name]) for name in ("WORLD_SIZE", "RANK", "LOCAL_WORLD_SIZE", "LOCAL_RANK")
        )
        nodes, node = int(env.get("GROUP_WORLD_SIZE", 1)), int(env.get("GROUP_RANK", 0))
        return Ranks(world, rank, local_world, local_rank, nodes, node)
    if not in_srun_step():
        return ALONE
    world, nodes = int(env.get("SLURM_STEP_NUM_TASKS", 1)), int(env.get("SLURM_STEP_NUM_NODES", 1))
    if world == 1:
        return ALONE
    shares = re.findall(r"(\d+)(?:\(x(\d+)\))?", env.get("SLURM_STEP_TASKS_PER_NODE", str(world)))
    if len({tasks for tasks, _ in shares}) > 1:
        raise UserError(
            f"srun put {env['SLURM_STEP_TASKS_PER_NODE']} processes on its nodes; give every node as many, "
            "with --ntasks-per-node"
        )
    return Ranks(
        world,
        int(env["SLURM_PROCID"]),
        int(shares[0][0]),
        int(env["SLURM_LOCALID"]),
        nodes,
        int(env["SLURM_NODEID"]),
    )


def in_srun_step() -> bool:
    """Whether srun started this process as a task, and not as a shell to type in."""
    step = os.environ.get("SLURM_STEP_ID", "")
    return step.isdigit() and int(step) < NO_STEP and "SLURM_PTY_PORT" not in os.environ


def unused_tasks() -> int:
    """How many tasks a Slurm allocation has, where this process uses one of them alone; else 0."""
    tasks = int(os.environ.get("SLURM_NTASKS", 1))
    return tasks if tasks > 1 and ranks() == ALONE else 0
