# What all rules use. The validated configuration, and `ask`, by which a rule asks samdiffsr.workflow for its
# files and words. What these are is computed there, where tests can import it.
import inspect
import os
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.logging import logger

# The package beside this Snakefile, whatever is installed; children inherit it. They call `python`: let it be the
# one that runs Snakemake, also when its environment is not activated.
SRC = str(Path(workflow.basedir) / "src")
sys.path.insert(0, SRC)
for name, first in {"PYTHONPATH": SRC, "PATH": os.path.dirname(sys.executable)}.items():
    os.environ[name] = os.pathsep.join(filter(None, [first, os.environ.get(name)]))

from samdiffsr.core import compat, layout
from samdiffsr.core.errors import UserError
from samdiffsr.core.logging import configure
from samdiffsr.core.layout import ENCODER, RUN, Layout, files
from samdiffsr.workflow import arguments, beforehand, configuration, recipes, targets
from samdiffsr.workflow.fingerprint import fingerprint, training_fingerprint
from samdiffsr.workflow.inputs import figures, results, runs, split, stores
from samdiffsr.workflow.lock import hold
from samdiffsr.workflow.plan import refuse_slow

configure(quiet_stdout=True)
compat.look_past_ancient_input()
OVERRIDES = workflow.config_settings.config
try:
    # Of the jobs' Snakemakes and of those that only look, none holds the folder.
    if workflow.is_main_process and not workflow.output_settings.dryrun:
        hold(Path(), unlock="--unlock" in sys.argv)
    CONFIG = configuration.configured(config, OVERRIDES, sys.argv, workflow.configfiles)
except UserError as error:
    raise WorkflowError(str(error)) from None

for name, why in CONFIG.left_out.items():
    logger.warning(f"left out (missing_test_sets: skip): test set {name}: {why}")

CHOSEN, LAYOUT, TRAIN = CONFIG.chosen, Layout(CONFIG.study), CONFIG.chosen.train_set
CONFIGFILES = map(os.path.relpath, workflow.config_settings.configfiles)
CALL = configuration.Call(tuple(CONFIGFILES), OVERRIDES)
os.environ.update(configuration.environment(CONFIG))


def ask(function, **fixed):
    """`function` of samdiffsr.workflow as a function of wildcards: it is given those that it names, and the
    configuration; a UserError becomes Snakemake's."""
    wanted = inspect.signature(function).parameters

    def answer(wildcards):
        values = {"config": CONFIG, **layout.typed(wildcards), **fixed}
        try:
            return dated(function(**{n: v for n, v in values.items() if n in wanted}))
        except UserError as error:
            raise WorkflowError(str(error)) from None

    return answer


def dated(found):
    """Files as Snakemake takes them: `ancient` where a date says nothing."""
    if isinstance(found, dict):
        return {use: dated(paths) for use, paths in found.items()}
    if isinstance(found, list):
        return [dated(path) for path in found]
    return ancient(str(found)) if isinstance(found, stores.Undated) else found


def passing(paths, shards):
    """Outputs that go when they are merged, if several jobs share them."""
    return temp(paths) if shards > 1 else paths


def growing(mb):
    """Memory of a job that gets more each time it is tried again; mb: a number, or a function for `ask`."""
    asked = ask(mb) if callable(mb) else lambda wildcards: mb
    return lambda wildcards, attempt: attempt * asked(wildcards)
