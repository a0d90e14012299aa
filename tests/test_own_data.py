"""docs/study/own-data.md: its configuration and its commands as they are printed, but for short trainings."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from samdiffsr.data.demo import make_demo
from tests.workflow import ROOT, Workflow

PAGE = (ROOT / "docs/study/own-data.md").read_text(encoding="utf-8")
CONFIG = re.findall(r"```yaml\n(.*?)```", PAGE, re.S)[0]
COMMANDS = [line for block in re.findall(r"```bash\n(.*?)```", PAGE, re.S) for line in block.splitlines()]


@pytest.mark.workflow
@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_page_on_own_data(tmp_path: Path) -> None:
    folder = Workflow.new(tmp_path / "repository").folder
    make_demo(tmp_path / "photos")
    for part in ("train", "test"):
        for path in list((tmp_path / "photos" / part).iterdir())[:2]:
            image = Image.open(path).crop((0, 0, 160, 160))
            target = folder / "data/mine" / part / path.with_suffix(".jpg").name
            target.parent.mkdir(parents=True, exist_ok=True)
            image.save(target)
    Image.open(target).crop((0, 0, 48, 40)).save(folder / "photo.jpg")
    (folder / "data/mine/train/notes.txt").touch()
    short, changed = re.subn(r"steps: (1200|2000)", "steps: 4", CONFIG)
    assert changed == 3
    (folder / "mine.yaml").write_text(short + "stop_below_bicubic: null\n")  # four steps are not a training
    said: dict[str, str] = {}
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    for line in COMMANDS:
        program, *arguments = line.split()
        done = subprocess.run(
            [sys.executable, "-m", program, *arguments],
            cwd=folder, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        said[line] = done.stdout + done.stderr
        missing = arguments[0] == "doctor"  # its exit status says that nothing is trained yet
        assert missing or done.returncode == 0, said[line][-3000:]
        assert "Traceback" not in said[line]
    assert "2 images of your own" in said[COMMANDS[0]]
    assert "no image by its name: notes.txt" in said[COMMANDS[0]]
    assert Image.open(folder / "large/photo.png").size == (192, 160)
