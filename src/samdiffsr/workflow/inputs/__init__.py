"""The files that each rule reads, for values of its wildcards."""
