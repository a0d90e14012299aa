"""What people install: wheel and sdist, containers and the conda environment, all from the same lock."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.workflow import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
BUILD = "import sys; from setuptools import build_meta as b; print(getattr(b, sys.argv[1])(sys.argv[2]))"


def locked() -> dict[str, str]:
    """Distribution -> version, as the lock has them."""
    rows = re.findall(r"^([A-Za-z0-9._-]+)==([^\s;]+)", (ROOT / "envs/requirements.lock").read_text(), re.M)
    return {canonicalize_name(name): version for name, version in rows}


@pytest.mark.parametrize(
    "line", [*PROJECT["dependencies"], *(row for extra in EXTRAS.values() for row in extra)]
)
def test_the_lock_satisfies_what_the_project_asks_for(line: str) -> None:
    wanted = Requirement(line)
    version = locked().get(canonicalize_name(wanted.name))
    assert version is not None, f"{wanted.name} is not in the lock: run `make lock`"
    assert wanted.specifier.contains(version), (
        f"{wanted.name} {version} in the lock, {wanted.specifier} wanted"
    )


def test_the_lock_names_no_host() -> None:
    assert "://" not in (ROOT / "envs/requirements.lock").read_text().replace("https://github.com", "")


def test_every_environment_is_the_lock_on_the_same_python() -> None:
    conda = yaml.safe_load((ROOT / "envs/samdiffsr.yaml").read_text())["dependencies"]
    (python,) = (row for row in conda if isinstance(row, str) and row.startswith("python "))
    version = python.removeprefix("python =")
    assert "-r requirements.lock" in conda[-1]["pip"]
    for recipe in ("Dockerfile", "envs/apptainer.def"):
        text = (ROOT / recipe).read_text()
        assert f"python:{version}-" in text, recipe
        for lock in ("bootstrap.lock", "requirements.lock"):
            assert f"--require-hashes -r envs/{lock}" in text, (recipe, lock)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A wheel and an sdist of a copy of the sources."""
    source = tmp_path_factory.mktemp("source") / "samdiffsr"
    source.mkdir()
    ignore = shutil.ignore_patterns("__pycache__", "*.egg-info")
    shutil.copytree(ROOT / "src", source / "src", ignore=ignore)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy2(ROOT / name, source / name)
    for kind in ("build_wheel", "build_sdist"):
        subprocess.run(
            [sys.executable, "-c", BUILD, kind, "dist"], cwd=source, check=True, capture_output=True
        )
    (wheel,), (sdist,) = (source / "dist").glob("*.whl"), (source / "dist").glob("*.tar.gz")
    return wheel, sdist


def _data_files() -> set[str]:
    """Files of the package that are no Python."""
    package = ROOT / "src" / "samdiffsr"
    return {
        f"samdiffsr/{path.relative_to(package).as_posix()}"
        for path in package.rglob("*")
        if path.is_file() and path.suffix not in (".py", ".pyc")
    }


def test_wheel_and_sdist_carry_every_file_of_the_package(built: tuple[Path, Path]) -> None:
    wheel, sdist = built
    in_wheel = set(zipfile.ZipFile(wheel).namelist())
    with tarfile.open(sdist) as archive:
        in_sdist = {name.partition("/")[2].removeprefix("src/") for name in archive.getnames()}
    modules = {
        f"samdiffsr/{path.relative_to(ROOT / 'src/samdiffsr').as_posix()}"
        for path in (ROOT / "src/samdiffsr").rglob("*.py")
    }
    assert _data_files() | modules <= in_wheel
    assert _data_files() | modules <= in_sdist


def test_an_installed_wheel_runs_without_the_repository(built: tuple[Path, Path], tmp_path: Path) -> None:
    with zipfile.ZipFile(built[0]) as archive:
        archive.extractall(tmp_path / "site")
    command = [sys.executable, "-m", "samdiffsr"]
    environment = {"PYTHONPATH": str(tmp_path / "site")}
    version = subprocess.run(
        [*command, "--version"], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert PROJECT["version"] in version.stdout
    made = subprocess.run(
        [*command, "demo-data", "--out", "demo"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert made.returncode == 0, made.stderr
    where = "import samdiffsr; print(samdiffsr.__file__)"
    found = subprocess.run(
        [sys.executable, "-c", where],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.startswith(str(tmp_path))
