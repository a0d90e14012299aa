"""Options that several stages share, alone and in groups. Nothing here imports a heavy package."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_type_hints

import typer

if TYPE_CHECKING:
    from samdiffsr.config.config import Config
    from samdiffsr.workflow.configuration import Call

CONFIG = Path("config.yaml")


def path(about: str | None = None) -> Any:
    """An option that takes one path."""
    return typer.Option(metavar="PATH", help=about)


def paths(about: str | None = None) -> Any:
    """An option that takes any number of paths: `--parts a b c`."""
    return typer.Option(metavar="PATH...", help=about)


def shard(text: str) -> tuple[int, int]:
    """PART/PARTS."""
    try:
        part, parts = (int(x) for x in text.split("/"))
    except ValueError:
        raise typer.BadParameter(f"{text!r}: must be PART/PARTS, e.g. 0/4") from None
    if not 0 <= part < parts:
        raise typer.BadParameter(f"{text!r}: PART must be 0 to {parts - 1}")
    return part, parts


def named(text: str) -> tuple[str, Path]:
    """NAME=PATH."""
    name, sign, place = text.partition("=")
    if not sign:
        raise typer.BadParameter(f"{text!r}: must be NAME=PATH")
    return name, Path(place)


def device_of(name: str) -> str:
    """ "cpu" or "cuda" where it says "auto"."""
    if name != "auto":
        return name
    from samdiffsr.core.device import resolve_device

    return str(resolve_device(name))


RecipeText = Annotated[
    str, typer.Option("--recipe", metavar="JSON", help="The recipe: the settings that decide the result.")
]
Threads = Annotated[int, typer.Option(min=1, metavar="N", help="CPU threads.")]
Device = Annotated[Literal["auto", "cpu", "cuda"], typer.Option(help="Where the networks run.")]
Shard = Annotated[
    Any, typer.Option(parser=shard, metavar="PART/PARTS", help="The part of the images to work on.")
]
Plugins = Annotated[
    list[str] | None,
    typer.Option("--plugin", metavar="MODULE", help="A plug-in to load; may be repeated."),
]
Out = Annotated[Path, path("Where to write.")]
Hr = Annotated[Path, path("Store of HR images.")]
Lr = Annotated[Path, path("Store of LR images.")]
Labels = Annotated[Path, path("Store of regions.")]
Manifests = Annotated[list[Path], paths("Manifests of the sampled images.")]
Run = Annotated[str, typer.Option(metavar="RUN", help="The run's name, e.g. sam_diffsr-x4-s0.")]
Dataset = Annotated[str, typer.Option(metavar="NAME", help="The test set's name.")]

ConfigFile = Annotated[Path, typer.Option("--config", metavar="PATH", help="The configuration file.")]
Overlays = Annotated[
    list[Path] | None,
    typer.Option("--configfile", metavar="PATH", help="A file merged over it; may be repeated."),
]
StudyName = Annotated[
    str | None, typer.Option("--study", metavar="NAME", help="Study to use; default: the one in the file.")
]
Mirror = Annotated[
    str | None,
    typer.Option("--mirror", metavar="PATH|URL", help="Folder or URL prefix searched before any download."),
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="A top-level setting, e.g. device=cpu; may be repeated."),
]
Root = Annotated[Path, path("The repository's root.")]


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """A command that takes groups of options (dataclasses), as Typer reads it: each as its fields."""
    parameters: list[inspect.Parameter] = []
    groups: dict[str, Any] = {}
    for name, given in inspect.signature(command, eval_str=True).parameters.items():
        if is_dataclass(given.annotation):
            groups[name] = given.annotation
            parameters += _options_of(given.annotation)
        else:
            parameters.append(given.replace(kind=inspect.Parameter.KEYWORD_ONLY))

    @wraps(command)
    def called(**values: Any) -> None:
        for name, group in groups.items():
            values[name] = group(**{field.name: values.pop(field.name) for field in fields(group)})
        command(**values)

    called.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return called


def _options_of(group: Any) -> list[inspect.Parameter]:
    types = get_type_hints(group, include_extras=True)
    return [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if field.default is MISSING else field.default,
            annotation=types[field.name],
        )
        for field in fields(group)
    ]


@dataclass(frozen=True)
class StudyOptions:
    """What a command is told about the study that it is for."""

    config: ConfigFile = CONFIG
    configfile: Overlays = None
    study: StudyName = None
    mirror: Mirror = None
    settings: Settings = None
    root: Root = Path()

    def read(self) -> Config:
        from samdiffsr.config.overlays import configured

        return configured(self.config, self.configfile, self.settings, study=self.study, mirror=self.mirror)

    def call(self, config: Config) -> Call:
        """How others are told of the same configuration, which was read."""
        from samdiffsr.workflow.configuration import Call

        over = [str(path) for path in [self.config, *(self.configfile or ())] if path != CONFIG]
        return Call.of(config, over, self.settings or ())


@dataclass(frozen=True)
class Sampled:
    """The images that are scored, and how."""

    manifests: Manifests
    run: Run
    dataset: Dataset
    recipe: RecipeText


def say(line: str) -> None:
    """Print a line at once, also into a log."""
    print(line, flush=True)
