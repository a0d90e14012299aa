"""The configuration as Snakemake hands it over, and the words that make another command see the same one."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from samdiffsr.config.config import Config
from samdiffsr.config.load import load_config
from samdiffsr.config.reading import read_mapping
from samdiffsr.config.recipes.stages import watch_recipe
from samdiffsr.core.errors import UserError
from samdiffsr.core.plugins import VARIABLE
from samdiffsr.workflow.availability import with_present_test_sets

CONFIGFILE = ("--configfile", "--configfiles")


def configured(
    merged: Mapping[str, Any],
    overrides: Mapping[str, Any],
    arguments: Sequence[str],
    files: Iterable[str | Path] = (),
) -> Config:
    """The configuration of a Snakemake run, without the test sets that cannot be had here.

    Args:
        merged: config.yaml with the files of --configfile and the values of --config laid over it.
        overrides: the values of --config alone. Snakemake reads `null` there as a word; here it is none.
        arguments: Snakemake's command line.
        files: that `merged` was read from; what they say must be the same in every version of YAML.

    Raises:
        UserError: what is wrong with it, in one line.
    """
    given = [word for word in arguments if word.partition("=")[0] in CONFIGFILE]
    if len(given) > 1:
        raise UserError(
            "--configfile is given twice, and Snakemake would take the last alone; give all files after one: "
            "--configfile a.yaml b.yaml"
        )
    for file in files:
        read_mapping(file)
    nulls = {key: None for key, value in overrides.items() if value in ("null", "~")}
    return with_present_test_sets(load_config({**merged, **nulls}))


def environment(config: Config) -> dict[str, str]:
    """What decides nothing about an outcome, and so travels to the jobs in their environment.

    (The number of processes decides the order of summation, as the number of threads does.)
    """
    mirror = {"SAMDIFFSR_MIRROR": config.mirror} if config.mirror else {}
    slow = "inf" if config.allow_slow else str(config.slow_hours)
    hours = {"SAMDIFFSR_SLOW_HOURS": slow, "SAMDIFFSR_COMMAND_HOURS": str(config.command_hours)}
    processes = {"SAMDIFFSR_ENCODER_PROCESSES": str(config.chosen.encoder_processes)}
    plugins = {VARIABLE: " ".join(config.plugins)} if config.plugins else {}
    watch = {"SAMDIFFSR_WATCH": watch_recipe(config).text()}
    return {**hours, **mirror, **processes, **plugins, **watch}


@dataclass(frozen=True)
class Call:
    """What a command needs to see the configuration at hand: files over config.yaml, and single values."""

    configfiles: tuple[str, ...] = ()
    values: Mapping[str, object] = field(default_factory=dict)

    @classmethod
    def of(cls, config: Config, configfiles: Sequence[str] = (), settings: Sequence[str] = ()) -> Call:
        """Of a configuration that was put together from files over config.yaml and KEY=VALUEs."""
        given = dict(setting.split("=", 1) for setting in settings)
        mirror = {"mirror": config.mirror} if config.mirror else {}
        return cls(tuple(configfiles), {"study": config.study, **given, **mirror})

    def options(self, **more: object) -> list[str]:
        """As Snakemake takes them; they swallow what follows, so targets go before them."""
        values = [f"{key}={_word(value)}" for key, value in {**self.values, **more}.items()]
        files = ["--configfile", *self.configfiles] if self.configfiles else []
        return files + (["--config", *values] if values else [])

    def snakemake(self, *targets: str, **more: object) -> str:
        """The command that makes `targets`, quoted for a shell."""
        return shlex.join(["snakemake", "--cores", "1", *targets, *self.options(**more)])

    def samdiffsr(self, stage: str, *words: str) -> str:
        """A command of the package, quoted for a shell."""
        options = [word for path in self.configfiles for word in ("--configfile", path)]
        for key, value in self.values.items():
            options += ["--study", str(value)] if key == "study" else ["--set", f"{key}={_word(value)}"]
        return shlex.join(["samdiffsr", stage, *words, *options])


def _word(value: object) -> str:
    return "null" if value is None else str(value)
