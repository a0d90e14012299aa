"""A hash of the code that a stage runs: the workflow re-runs a stage when its code changes, and only then.

Snakemake does not see the modules that a command imports. Here the imports of a module are followed through
the package by reading the source, and what remains of each module without comments, docstrings and layout
is hashed: a new comment costs nothing, a changed formula re-runs exactly the stages that use it.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any, Protocol

from samdiffsr.core.files import sha256_json
from samdiffsr.core.registry import module_of
from samdiffsr.diffusion.registry import FORMULATIONS
from samdiffsr.evaluation.metrics import METRICS
from samdiffsr.models.registry import BACKBONES

PACKAGE = "samdiffsr"
REGISTRY = f"{PACKAGE}.evaluation.metrics"
ROOT = Path(__file__).parents[1]
# What stages import and what decides no number: words, records, files, who gets which GPU. What a recipe says
# counts by its text, and a registry by its entries.
WORDS = "errors extras files gpus layout locks logging machine plugins progress recipe registry"
WATCHING = {f"{PACKAGE}.training.{name}" for name in ("watch", "watching")}
NEUTRAL = frozenset({PACKAGE, *WATCHING, *(f"{PACKAGE}.core.{name}" for name in WORDS.split())})


@cache
def fingerprint(*modules: str, without: tuple[str, ...] = ()) -> str:
    """Twelve hexadecimal digits of a hash over `modules` and every module of the package that they import.

    Args:
        modules: dotted names, e.g. "samdiffsr.training.denoiser".
        without: modules that decide nothing here, beside NEUTRAL.
    """
    digest = hashlib.sha256()
    for name in sorted(_closure(modules, NEUTRAL.union(without))):
        digest.update(f"{name}\n{_essence(name)}\n".encode())
    return digest.hexdigest()[:12]


class Denoising(Protocol):
    """What says which denoiser: a variant, a training's recipe, or a model file's."""

    @property
    def formulation(self) -> str: ...

    @property
    def backbone(self) -> Any: ...


def training_fingerprint(denoiser: Denoising | None = None) -> str:
    """The same of a denoiser's training; of the encoder's, if there is none."""
    if denoiser is None:
        return fingerprint("samdiffsr.training.encoder")
    return fingerprint("samdiffsr.training.denoiser", *_own(denoiser))


def sampling_fingerprint(denoiser: Denoising | None = None) -> str:
    """The same of the stage that restores images, by a denoiser or by none."""
    return fingerprint("samdiffsr.sampling.restorers", *(_own(denoiser) if denoiser else ()))


def scoring_fingerprint(stage: str, metrics: Iterable[str], more: Iterable[str] = ()) -> str:
    """The same of a stage that scores by `metrics`, of their functions, and of `more` modules.

    Of the registry counts what decides their values: a new label or another metric scores nothing again.
    """
    entries = [(name, METRICS[name]) for name in sorted(metrics)]
    modules = [metric.module for _, metric in entries]
    code = fingerprint(stage, *sorted({*modules, *more}), without=(REGISTRY,))
    return sha256_json([code, [(name, metric.identity) for name, metric in entries]])[:12]


def features_fingerprint() -> str:
    """The same of what makes the Inception features that are kept, whatever metrics are taken of them."""
    return fingerprint("samdiffsr.evaluation.set", without=(REGISTRY,))


def plugins(codes: Iterable[str]) -> tuple[str, ...]:
    """The modules of entries ("module:name") that lie outside the package."""
    return tuple(sorted({module_of(code) for code in codes if not _within(code, PACKAGE)}))


def _own(denoiser: Denoising) -> tuple[str, ...]:
    """The modules of a denoiser's own choices, which the stages do not import for all."""
    backbone = [] if denoiser.backbone is None else [BACKBONES[denoiser.backbone.kind].code]
    return (*map(module_of, backbone), *plugins([FORMULATIONS[denoiser.formulation].code]))


def _closure(modules: tuple[str, ...], neutral: frozenset[str]) -> set[str]:
    seen: set[str] = set()
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        if name not in seen and name not in neutral:
            seen.add(name)
            waiting += _imports(name)
    return seen


def _tree(name: str) -> ast.Module:
    path = _path(name)
    return ast.parse("" if path is None else path.read_text(encoding="utf-8"))


def _path(name: str) -> Path | None:
    """The file of a module, of the package or of a plug-in; None if there is none, as of a bare folder."""
    if _within(name, PACKAGE):
        base = ROOT.joinpath(*name.split(".")[1:])
        path = base / "__init__.py" if base.is_dir() else base.with_suffix(".py")
        return path if path.exists() else None
    try:
        spec = importlib.util.find_spec(name)
    except ModuleNotFoundError:
        spec = None
    origin = None if spec is None else spec.origin
    return Path(origin) if origin is not None and origin.endswith(".py") else None


def _within(name: str, package: str) -> bool:
    return name.partition(":")[0].partition(".")[0] == package


@cache
def _imports(name: str) -> list[str]:
    """What a module imports of the package, and of its own where it is a plug-in's."""
    top = name.partition(".")[0]
    found = []
    for node in ast.walk(_tree(name)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if node.level:
                inside = (path := _path(name)) is not None and path.name == "__init__.py"
                outer = name.split(".")[: len(name.split(".")) - node.level + inside]
                module = ".".join([*outer, *filter(None, [module])])
            submodules = [f"{module}.{alias.name}" for alias in node.names]
            found += [s if _ours(s, top) and _path(s) is not None else module for s in submodules]
    return [module for module in found if _ours(module, top)]


def _ours(module: str, top: str) -> bool:
    return module != PACKAGE and (_within(module, PACKAGE) or _within(module, top))


@cache
def _essence(name: str) -> str:
    tree = _tree(name)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            node.body = [statement for statement in node.body if not _is_text(statement)] or [ast.Pass()]
    return ast.unparse(tree)


def _is_text(statement: ast.stmt) -> bool:
    """Whether it is a docstring, also one of a field."""
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )
