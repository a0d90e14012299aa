"""SAM-DiffSR (arXiv 2402.17133) as a reproducible benchmark: see README.md and docs/."""

__version__ = "0.1.0"
