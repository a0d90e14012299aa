"""Nothing that is read can run code, and chance is decided in one place: what the source may not call."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.workflow import ROOT

MODULES = sorted((ROOT / "src" / "samdiffsr").rglob("*.py"))
CHANCE = {"manual_seed", "seed", "seed_everything", "use_deterministic_algorithms", "set_num_threads"}


def _calls(path: Path) -> Iterator[tuple[str, ast.Call]]:
    """(dotted name, call) of everything that a module calls."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def _keyword(call: ast.Call, name: str) -> object:
    value = next((k.value for k in call.keywords if k.arg == name), None)
    return value.value if isinstance(value, ast.Constant) else None


def _offences(path: Path) -> list[str]:
    found = []
    for name, call in _calls(path):
        last = name.rpartition(".")[2]
        wrong = (
            (name == "torch.load" and _keyword(call, "weights_only") is not True)
            or (name in ("np.load", "numpy.load") and _keyword(call, "allow_pickle") is not False)
            or (name.startswith("yaml.") and "load" in last and last != "safe_load")
            or name.startswith(("pickle.", "dill.", "joblib.", "marshal.", "shelve."))
            or last in ("eval", "exec", "load_module", "load_state_dict_from_url")
            or name in ("os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput")
            or last in ("extractall", "unpack_archive")
            or (name.startswith(("subprocess.", "Popen")) and _keyword(call, "shell") not in (None, False))
        )
        if wrong and not (last == "eval" and name != "eval"):  # network.eval() is another thing
            found.append(f"{path.name}:{call.lineno}: {ast.unparse(call)[:80]}")
    return found


def test_nothing_that_is_read_can_run_code() -> None:
    assert [offence for path in MODULES for offence in _offences(path)] == []


@pytest.mark.parametrize(
    "line",
    [
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "np.load(path)",
        "np.load(path, allow_pickle=True)",
        "yaml.load(text)",
        "yaml.full_load(text)",
        "pickle.loads(data)",
        "eval(text)",
        "subprocess.run(command, shell=True)",
        "os.system(command)",
        "archive.extractall(folder)",
    ],
)
def test_the_test_sees_it(tmp_path: Path, line: str) -> None:
    (tmp_path / "module.py").write_text(line)
    assert len(_offences(tmp_path / "module.py")) == 1


def test_chance_is_decided_in_one_place() -> None:
    places = {path.name for path in MODULES for name, _ in _calls(path) if name.rpartition(".")[2] in CHANCE}
    assert places == {"randomness.py"}
    unseeded = re.compile(
        r"default_rng\(\)|np\.random\.(?!default_rng|Generator|Philox\(key=)|\brandom\.(random|choice|shuffle)\("
    )
    assert [path.name for path in MODULES if unseeded.search(path.read_text(encoding="utf-8"))] == []


def test_every_pinned_package_has_its_hashes_and_the_lock_names_no_server() -> None:
    for name in ("requirements.lock", "bootstrap.lock"):
        text = (ROOT / "envs" / name).read_text()
        packages = re.split(r"\n(?=[a-z0-9])", re.sub(r"^#.*\n", "", text, flags=re.M).strip())
        assert packages
        assert [p.split()[0] for p in packages if not re.match(r"[\w.\[\]-]+==\S+", p)] == []
        assert [p.split()[0] for p in packages if "--hash=sha256:" not in p] == []
        assert "://" not in text
