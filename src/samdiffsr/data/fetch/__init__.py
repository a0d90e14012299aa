"""Getting files: out of a mirror if there is one, else from the tables' addresses, one after the other.

`download` brings one file and goes on where it stopped; `archive` unpacks nothing that would land elsewhere;
`ways` lists how a source can be had; `sources` brings whole sources and networks' weights.
"""

from samdiffsr.data.fetch.sources import check_disk, fetch_source, fetch_weights, source_version
from samdiffsr.data.fetch.ways import in_mirror, is_url

__all__ = ["check_disk", "fetch_source", "fetch_weights", "in_mirror", "is_url", "source_version"]
