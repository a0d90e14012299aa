"""What a file is that was given as a model and is none, and what helps. Imports no torch."""

from __future__ import annotations

import re
from pathlib import Path

# what a file begins with -> what it is
BEGINNINGS = {
    b"PK\x03\x04": "torch",
    b"\x80\x02": "torch",  # of PyTorch before 1.6
    b"version https://git-lfs": "lfs",
    b"<": "page",
}
HEAD = 2048  # bytes looked at; a pointer is shorter


def not_a_model(path: Path) -> str | None:
    """One clause: what the file is, and the command that helps; None if it may be a damaged model."""
    with open(path, "rb") as file:
        head = file.read(HEAD)
    if not head:
        return "is empty; delete it and get it again"
    if re.search(rb"^outs:\s*$", head, re.MULTILINE):
        meant = path.with_suffix("") if path.suffix == ".dvc" else path
        return f"is DVC's pointer, not the model; run `dvc pull {meant}` and give {meant}"
    kind = next((kind for start, kind in BEGINNINGS.items() if head.lstrip().startswith(start)), None)
    if kind == "torch":
        return (
            "is a checkpoint of PyTorch; import it: name it as `foreign` of a variant in config.yaml "
            "(docs/study/tables.md), or use `samdiffsr import-encoder` and `samdiffsr import-denoiser`"
        )
    if kind == "lfs":
        return "is Git LFS's pointer, not the file; run `git lfs pull`"
    if kind == "page":
        return "is a web page, not the file that its address promised; get it again"
    return None


def pull(path: Path) -> str:
    """ "; it is under DVC: run ..." where a pointer lies beside the file that is not there; else empty."""
    pointed = path.with_name(f"{path.name}.dvc").exists()
    return f"; it is under DVC: run `dvc pull {path}`" if pointed else ""
