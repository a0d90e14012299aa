"""How fast each stage is, beside the released code in the same run, and how cost grows with work.

    python -m benchmarks --released PATH [--out benchmarks/results] [--device auto] [--repeat 5] [--compile]
    python -m benchmarks --scaling
    python -m benchmarks --gpu OUT [--released PATH] [--device cuda] [--tiny]

PATH is a checkout of the authors' code (github.com/lose4578/SAM-DiffSR; it has no licence and is not part of
this repository). Writes speed.csv and speed.md, or scaling.csv and scaling.md. Times are medians of
repetitions in turns; memory is each program's own, in a process of its own. Leave the machine alone.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.measure import Machine

from samdiffsr.core.device import resolve_device, resolve_precision
from samdiffsr.core.files import write_csv
from samdiffsr.core.machine import peak_bytes
from samdiffsr.core.randomness import prepare_torch

if TYPE_CHECKING:
    from benchmarks.pairs import Result

PROGRAMS = ("released", "ours")
NAMES = {
    "training": "training step",
    "sampling": "sampling",
    "masks": "mask encoding",
    "files": "mask reading and encoding",
    "lr": "LR generation",
    "batch": "batch loading",
}


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--released", type=Path, metavar="PATH", help="a checkout of the authors' code")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--scaling", action="store_true", help="how cost grows with the work, of ours alone")
    what.add_argument("--gpu", type=Path, metavar="OUT", help="steps and images on this GPU")
    parser.add_argument("--tiny", action="store_true", help="--gpu with tiny networks: whether it runs")
    parser.add_argument("--only", nargs="+", default=list(NAMES), choices=list(NAMES))
    parser.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])
    parser.add_argument("--precision", default="auto", choices=["auto", "bf16", "float32"])
    parser.add_argument("--compile", action="store_true", help="our training, with torch.compile")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="of the CPU")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--alone", choices=PROGRAMS, help=argparse.SUPPRESS)  # one program, for its memory
    args = parser.parse_args()

    os.environ.setdefault("OMP_NUM_THREADS", str(args.threads))
    prepare_torch(args.threads)
    if args.gpu:
        from benchmarks.gpu import measure

        measure(args.gpu, args.device, args.tiny, args.released)
        return
    if args.scaling:
        from benchmarks.scaling import curves

        curves(args.out, args.threads)
        return
    if args.released is None:
        parser.error("say what to measure: --released PATH, --gpu OUT or --scaling")
    from benchmarks.pairs import STAGES, Bench
    from benchmarks.released import Released

    from samdiffsr.config.load import load_config
    from samdiffsr.config.reading import read_mapping

    device = resolve_device(args.device)
    precision = resolve_precision(args.precision, device)
    released = Released(args.released)
    config = load_config(read_mapping("config.yaml") | {"study": "paper"})
    with tempfile.TemporaryDirectory(prefix="samdiffsr-") as name:

        def bench(stage: str) -> Bench:
            folder = Path(name) / stage
            folder.mkdir()
            return Bench(released, config, device, precision, args.repeat, folder, args.compile)

        if args.alone:
            STAGES[args.only[0]](bench(args.only[0]), [args.alone])
            print(json.dumps({"peak_bytes": peak_bytes(device)}))
            return
        machine = Machine.measured(device)
        print(machine)
        rows = []
        for stage in args.only:
            result = STAGES[stage](bench(stage), PROGRAMS)
            peaks = {program: _alone(stage, program, sys.argv[1:]) for program in PROGRAMS}
            rows.append(_row(stage, result, peaks, machine, precision))
            print(
                f"{NAMES[stage]}: {result.timings.ratio():.1f} times; {result.work}; "
                f"released {result.timings.spread('released')} s, ours {result.timings.spread('ours')} s"
            )
    _write(args.out, rows, machine)


def _alone(stage: str, program: str, arguments: Sequence[str]) -> int:
    """Peak memory of one program at one stage."""
    kept = [a for a in arguments if a not in NAMES and a != "--only"]
    command = [sys.executable, "-m", "benchmarks", *kept]
    command += ["--only", stage, "--alone", program, "--repeat", "1"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stderr}")
    return int(json.loads(done.stdout.splitlines()[-1])["peak_bytes"])


def _row(
    stage: str, result: Result, peaks: dict[str, int], machine: Machine, precision: str
) -> dict[str, str | float]:
    row: dict[str, str | float] = {
        "stage": NAMES[stage],
        "work": result.work,
        "ratio": round(result.timings.ratio(), 2),
        "agreement": result.agreement,
    }
    for program in PROGRAMS:
        seconds = result.timings.seconds[program]
        row |= {
            f"{program}_s": round(result.timings.median(program), 6),
            f"{program}_least_s": round(min(seconds), 6),
            f"{program}_most_s": round(max(seconds), 6),
            f"{program}_peak_mb": round(peaks[program] / 1e6),
        }
    if result.flops:
        reached = result.flops / result.timings.median("ours")
        theirs = result.flops / result.timings.median("released")
        row |= {
            "tflop": round(result.flops / 1e12, 4),
            "ours_share_of_matmul": round(reached / machine.flops[precision], 3),
            "released_share_of_matmul": round(theirs / machine.flops["float32"], 3),
        }
    return row


def _write(out: Path, rows: list[dict[str, str | float]], machine: Machine) -> None:
    out.mkdir(parents=True, exist_ok=True)
    write_csv(out / "speed.csv", list(dict.fromkeys(key for row in rows for key in row)), rows)
    lines = [
        "| | released, s | ours, s | ratio | released, MB | ours, MB | ours of the machine's matrix rate |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        share = f"{100 * float(row['ours_share_of_matmul']):.0f} %" if "tflop" in row else ""
        times = [
            f"{row[f'{p}_s']:.3g} ({row[f'{p}_least_s']:.3g}-{row[f'{p}_most_s']:.3g})" for p in PROGRAMS
        ]
        peaks = [f"{row[f'{p}_peak_mb']}" for p in PROGRAMS]
        cells = [f"{row['stage']}: {row['work']}", *times, f"{row['ratio']:.1f}", *peaks, share]
        lines.append("| " + " | ".join(cells) + " |")
    lines += ["", f"Medians (least-most) of repetitions in turns. {machine}.", ""]
    lines += [f"- {row['stage']}: {row['agreement']}." for row in rows if row["agreement"]]
    (out / "speed.md").write_text("\n".join(lines) + "\n")
    print(f"{out}/speed.csv and speed.md are written")


if __name__ == "__main__":
    main()
