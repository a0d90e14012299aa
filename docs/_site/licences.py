"""The licence of every distribution of the lock, into docs/develop/third-party.md: `make licences`.

It is read from the metadata of what is installed. KNOWN says what that lacks: distributions for other
systems, and those whose metadata are empty or unclear.
"""

from __future__ import annotations

import re
import sys
from collections import defaultdict
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

ROOT = Path(__file__).parents[2]
LOCK, PAGE = ROOT / "envs" / "requirements.lock", ROOT / "docs" / "develop" / "third-party.md"
BEGIN, END = "<!-- licences -->\n", "<!-- end of licences -->\n"

NVIDIA = "NVIDIA's licence (proprietary)"
KNOWN = {
    "appnope": "BSD-2-Clause",
    "conda-inject": "MIT",
    "cuda-toolkit": NVIDIA,
    "grandalf": "GPL-2.0-only OR EPL-1.0",
    "httpx2-jsfetch": "BSD-3-Clause",
    "latex2mathml": "MIT",
    "mlcroissant": "Apache-2.0",
    "openai-clip": "MIT",
    "pygit2": "GPL-2.0-only with a linking exception",
    "pyreadline3": "BSD",
    "pywin32": "PSF-2.0",
    "segment-anything": "Apache-2.0",
    **{
        f"snakemake-interface-{name}": "MIT"
        for name in ("common", *(f"{kind}-plugins" for kind in ("logger", "report", "scheduler", "storage")))
    },
}
# Words of metadata -> one name a licence. "BSD" is what those say that do not say which.
NAMES = {
    r"Apache( Software)?( License)?,?( Version)? ?(2\.0)?( License)?": "Apache-2.0",
    r"3-Clause BSD License": "BSD-3-Clause",
    r"BSD License": "BSD",
    r"FreeBSD": "BSD-2-Clause",
    r"ISC License \(ISCL\)": "ISC",
    r"MIT License": "MIT",
    r"Mozilla Public License 2\.0 \(MPL 2\.0\)": "MPL-2.0",
    r"Other/Proprietary License|NVIDIA Proprietary Software|LicenseRef-NVIDIA-Proprietary": NVIDIA,
    r"Python Software Foundation License": "PSF-2.0",
    r"Zope Public License": "ZPL-2.1",
}


def distributions(lock: str) -> list[str]:
    """Names of everything that the lock pins."""
    return sorted(set(re.findall(r"^([a-z0-9][\w.-]*)(?:\[[^]]*\])?==", lock, re.M)))


def licence(name: str) -> str:
    """A distribution's licence, or nothing if neither metadata nor KNOWN say it."""
    if name in KNOWN:
        return KNOWN[name]
    try:
        said = metadata(name)
    except PackageNotFoundError:
        return ""
    if expression := said.get("License-Expression"):
        return _named(expression)
    classes = [
        c.rpartition(" :: ")[2] for c in said.get_all("Classifier") or () if c.startswith("License ::")
    ]
    classes = [c for c in classes if c not in ("OSI Approved", "DFSG approved")]
    text = (said.get("License") or "").strip().partition("\n")[0]
    return ", ".join(map(_named, classes)) or _named(text)


def _named(words: str) -> str:
    return next((name for pattern, name in NAMES.items() if re.fullmatch(pattern, words)), words)


def table(lock: str) -> str:
    """A licence a line, with the distributions under it."""
    under = defaultdict(list)
    for name in distributions(lock):
        under[licence(name)].append(name)
    if unknown := under.get(""):
        sys.exit(f"no licence is known of {', '.join(unknown)}: look it up, and add it to KNOWN")
    lines = [f"| {key} | {', '.join(names)} |\n" for key, names in sorted(under.items())]
    return "".join(["| licence | distributions |\n", "|---|---|\n", *lines])


def page(text: str, lock: str) -> str:
    """The page with its table made anew."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{table(lock)}\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(
        page(PAGE.read_text(encoding="utf-8"), LOCK.read_text(encoding="utf-8")), encoding="utf-8"
    )
