"""The state of torch in which equals give equals."""

from __future__ import annotations

import subprocess
import sys

STATE = """
import sys, torch
from samdiffsr.core.randomness import prepare_compiler, prepare_torch

def say():
    print(torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled(),
          torch.utils.deterministic.fill_uninitialized_memory)

prepare_torch(1)
say()
print(sorted({"torch._dynamo", "torch._inductor", "sympy"} & set(sys.modules)))
prepare_compiler()
say()
from torch._inductor import config
print(getattr(config, "deterministic", True))  # older versions of torch have none
"""


def test_torch_is_deterministic_and_its_compiler_is_imported_only_to_compile() -> None:
    done = subprocess.run([sys.executable, "-c", STATE], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["True True False", "[]", "True True False", "True"]
