"""One address: a download goes on where it stopped, and counts only when its size and checksum are right."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
from dataclasses import dataclass
from itertools import count
from pathlib import Path, PurePosixPath
from urllib.parse import urlparse

import requests
from urllib3.exceptions import (
    HTTPError,
    InvalidHeader,
    MaxRetryError,
    NameResolutionError,
    ProtocolError,
    ReadTimeoutError,
)
from urllib3.response import BaseHTTPResponse
from urllib3.util.retry import Retry

from samdiffsr.core.errors import UserError
from samdiffsr.core.files import explained, read_json, sha256_file, write_json
from samdiffsr.core.locks import locked
from samdiffsr.core.progress import progress_bar

log = logging.getLogger(__name__)

BLOCK = 1 << 20
HEADERS = {"User-Agent": "samdiffsr (https://arxiv.org/abs/2402.17133)", "Accept-Encoding": "identity"}
MAY_PASS = (408, 425, 429, *range(500, 600))  # answers after which asking again may help


class Refused(Exception):
    """This way does not lead to the file; the message says why. The next one may."""


class DiskFault(UserError):
    """This machine cannot keep the file, whatever way leads to it."""


class _Again(Exception):
    """This attempt failed and the next may not; `answer` may say when to come back."""

    def __init__(self, reason: str, answer: BaseHTTPResponse | None = None) -> None:
        super().__init__(reason)
        self.answer = answer


class _Pauses(Retry):
    """urllib3's policy, which obeys Retry-After, with a pause before the second try too."""

    def get_backoff_time(self) -> float:
        return float(min(self.backoff_max, self.backoff_factor * 2 ** (len(self.history) - 1)))

    def get_retry_after(self, response: BaseHTTPResponse) -> float | None:
        with contextlib.suppress(InvalidHeader):
            return super().get_retry_after(response)
        return None


@dataclass(frozen=True)
class Patience:
    """How long to bear with a server. `timeout` is for a connection that says nothing, in seconds."""

    tries: int = 4
    timeout: float = 30.0
    pause: float = 2.0  # before the second try; doubled each time; a server's Retry-After goes before it

    @property
    def retry(self) -> Retry:
        return _Pauses(total=self.tries - 1, backoff_factor=self.pause, retry_after_max=600)


@dataclass(frozen=True)
class Wanted:
    """What is known of a file before it is there. `sha256` may be a prefix."""

    bytes: int | None = None
    sha256: str | None = None
    md5: str | None = None

    @property
    def known(self) -> bool:
        return self.sha256 is not None or self.md5 is not None

    def check(self, path: Path) -> None:
        """Refused if the file is another one."""
        size = path.stat().st_size
        if self.bytes is not None and size != self.bytes:
            raise Refused(f"has {size} bytes, not {self.bytes}")
        if self.sha256 is not None:
            found = sha256_file(path)
            if not found.startswith(self.sha256):
                raise Refused(f"has SHA-256 {found[:12]}, not {self.sha256[:12]}")
        elif self.md5 is not None:
            with open(path, "rb") as file:
                found = hashlib.file_digest(file, "md5").hexdigest()
            if found != self.md5:
                raise Refused(f"has MD5 {found[:12]}, not {self.md5[:12]}")


def download(
    url: str,
    path: Path,
    wanted: Wanted | None = None,
    patience: Patience | None = None,
) -> None:
    """Bring the file at `url` to `path`, going on from an earlier attempt's `<path>.part`.

    One process at a time: who waited for another takes what that one brought.

    Raises:
        Refused: the server does not have it, does not answer, or what it gave is not the wanted file.
        DiskFault: the disk is full, or the folder cannot be written.
    """
    wanted, patience = wanted or Wanted(), patience or Patience()
    before = path.exists()
    try:
        with locked(path.with_name(f".{path.name}.lock")) as lock:
            if path.exists() and not before:
                wanted.check(path)
                return
            part = path.with_name(f"{path.name}.part{lock.suffix}")
            _persist(url, part, wanted, patience)
            lock.check()
            os.replace(part, path)
            _forget(part)
    except OSError as error:
        raise DiskFault(explained(error, path)) from None


def _persist(url: str, part: Path, wanted: Wanted, patience: Patience) -> None:
    retry = patience.retry
    for attempt in count(2):
        try:
            _attempt(url, part, wanted, patience.timeout)
            return
        except _Again as again:
            try:
                retry = retry.increment("GET", url, error=again)
            except MaxRetryError:
                raise Refused(str(again)) from None
            log.info(f"{url}: {again}; try {attempt} of {patience.tries}")
            retry.sleep(again.answer)


def _attempt(url: str, part: Path, wanted: Wanted, timeout: float) -> None:
    """Complete and check `part`; a part of another file is removed."""
    old = part.exists()
    try:
        _receive(url, part, wanted, timeout)
    except (requests.RequestException, HTTPError) as error:
        reason, may_pass = _reason(error)
        raise (_Again if may_pass else Refused)(reason) from None
    try:
        wanted.check(part)
    except Refused as error:
        _forget(part)
        if old:  # the part of an earlier attempt may be to blame: once more from the start
            raise _Again(str(error)) from None
        raise


def _receive(url: str, part: Path, wanted: Wanted, timeout: float) -> None:
    """One request: append to `part` what is missing of it."""
    have = part.stat().st_size if part.exists() else 0
    if wanted.bytes is not None and have == wanted.bytes:
        return
    note = _note(part)
    headers = dict(HEADERS)
    if have:
        validator = read_json(note).get("validator") if note.exists() else None
        if validator:
            headers |= {"Range": f"bytes={have}-", "If-Range": validator}
        elif wanted.known:
            headers["Range"] = f"bytes={have}-"  # a mixture of two versions would fail the checksum
        else:
            _forget(part)  # nothing could tell whether the rest belongs to this beginning
            have = 0
    with requests.get(url, headers=headers, timeout=timeout, stream=True) as answer:
        _check_status(answer, part)
        resumed = answer.status_code == 206 and answer.headers.get("Content-Range", "").startswith(
            f"bytes {have}-"
        )
        if have and not resumed:
            have = 0
        length = answer.headers.get("Content-Length", "")
        total = have + int(length) if length.isdigit() else None
        if wanted.bytes is not None and total is not None and total != wanted.bytes:
            raise Refused(f"offers {total} bytes, not {wanted.bytes}")
        etag = answer.headers.get("ETag", "")
        if validator := (etag if etag and not etag.startswith("W/") else answer.headers.get("Last-Modified")):
            write_json(note, {"validator": validator})
        name = PurePosixPath(urlparse(url).path).name
        of_all = f" of {total / 1e6:.0f}" if total else ""
        with (
            open(part, "ab" if have else "wb") as file,
            progress_bar(name, unit="B", scaled=True, start=have) as show,
        ):
            said = have
            try:  # what there is, at once: a connection that stalls loses nothing
                while block := answer.raw.read1(BLOCK, decode_content=False):
                    file.write(block)
                    have += len(block)
                    line = ""
                    if have - said >= max(32 * BLOCK, (total or 0) // 10):
                        line, said = f"{name}: {have / 1e6:.0f}{of_all} MB", have
                    show.at(have, total, line=line)
            except ProtocolError:
                of = "" if total is None else f" of {total}"
                raise _Again(f"the connection ended after {file.tell()}{of} bytes") from None


def _check_status(answer: requests.Response, part: Path) -> None:
    if answer.ok:
        return
    reason = f"answers {answer.status_code} {answer.reason}"
    if answer.status_code == 416:  # the part is longer than the file: another file's part
        _forget(part)
    elif answer.status_code not in MAY_PASS:
        raise Refused(reason)
    raise _Again(reason, answer.raw)


def _note(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def _forget(part: Path) -> None:
    part.unlink(missing_ok=True)
    _note(part).unlink(missing_ok=True)


def _reason(error: BaseException) -> tuple[str, bool]:
    """What went wrong, as the system says it, and whether waiting may help: not without a network."""
    if isinstance(error, requests.Timeout | ReadTimeoutError):
        return "does not answer (timed out)", True
    lost = isinstance(error, requests.ConnectionError | requests.exceptions.ChunkedEncodingError | HTTPError)
    while (cause := error.__cause__ or error.__context__) is not None:
        lost = lost and not isinstance(error, NameResolutionError)
        error = cause
    return " ".join(str(error).split()) or type(error).__name__, lost
