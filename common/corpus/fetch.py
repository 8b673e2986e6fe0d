"""Public files by address and checksum: from the cache or a mirror, or else downloaded; verified before use.

A download continues where it broke off, in this run or the next. A file gets its name only when it is complete.
"""

from __future__ import annotations

import errno
import http.client
import os
import re
import shutil
import ssl
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from email.message import Message
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import IO, Any

from tqdm import tqdm

from common.errors import UserError
from common.files import BLOCK, Stopped, checksum, locked
from common.progress import progress

MIRROR = "PAPERS_MIRROR"
"""Environment variable with a folder or address that is tried before the public ones, for `<corpus>/<file name>`."""
PARALLEL = 4
"""Number of files downloaded at the same time."""
TIMEOUT = 60.0
"""Seconds without a byte after which a connection counts as broken."""
DELAYS: tuple[float, ...] = (1, 2, 4, 8)
"""Seconds before each new attempt at an address. They start again after an attempt that got further in the file."""
LONGEST_DELAY = 60.0
"""Largest number of seconds to wait if the server asks for a delay (Retry-After)."""


@dataclass(frozen=True)
class File:
    """A public file.

    `size` (bytes) is None if nobody published it. At least one of the two checksums is always present.
    """

    urls: tuple[str, ...]
    """One or more addresses (http, https), tried in this order."""
    path: str
    """`<corpus>/<file name>`, the path inside the cache and inside a mirror."""
    size: int | None
    sha256: str | None
    md5: str | None = None

    @property
    def checksum(self) -> tuple[str, str]:
        """Name and hexadecimal value of the published checksum."""
        return ("sha256", self.sha256) if self.sha256 else ("md5", self.md5 or "")


def fetch_all(files: Sequence[File], cache: Path) -> dict[str, Path]:
    """Return paths of verified copies by `File.path`. Download to `cache` the files that neither it nor the mirror has.

    A copy in a mirror folder is used in place. An interrupted download is kept as `.part` and resumed. The first file
    that no address gives stops the other downloads.
    Raises UserError for such a file and for a damaged copy in a mirror folder. Before the first download, it also
    raises UserError if the disk has no room for all missing files.
    """
    wanted = {file.path: file for file in files}
    stop = threading.Event()
    try:
        with ThreadPoolExecutor(PARALLEL) as pool:
            try:
                copies = pool.map(lambda file: _ready(file, cache), wanted.values())
                ready = {path: copy for path, copy in zip(wanted, copies, strict=True) if copy}
                missing = [file for path, file in wanted.items() if path not in ready]
                _check_room(missing, cache)
                downloads = {file.path: pool.submit(_download, file, cache, stop) for file in missing}
                wait(downloads.values(), return_when=FIRST_EXCEPTION)
            finally:
                stop.set()
                pool.shutdown(cancel_futures=True)
        errors = [future.exception() for future in downloads.values() if not future.cancelled()]
        for error in errors:
            if error and not isinstance(error, Stopped):
                raise error
    except OSError as error:
        raise UserError(f"{error.filename or cache}: {error.strerror}; mend that and run again") from None
    return {path: ready[path] if path in ready else downloads[path].result() for path in wanted}


class _Refused(Exception):
    """This address does not give the file, now or later. Another address may."""


class _Broken(Exception):
    """The file did not arrive completely. The same address may give the rest after a while."""

    def __init__(self, what: str, after: float = 0) -> None:
        super().__init__(what)
        self.after = after
        """Seconds that the server asks to wait."""


class _WebOnly(urllib.request.HTTPRedirectHandler):
    """Redirect handler that follows only http and https. urllib's own follows ftp as well."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        if not _is_web(newurl):
            raise urllib.error.HTTPError(req.full_url, code, f"{msg}, to {newurl}, no http address", headers, fp)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _is_web(url: str) -> bool:
    return re.match("https?://", url, re.IGNORECASE) is not None


def _ready(file: File, cache: Path) -> Path | None:
    """Return the verified copy in the cache or in the mirror folder, or None."""
    local = cache / file.path
    if local.is_file() and _fault_unless_known(local, file, cache) is None:
        return local
    mirror = os.environ.get(MIRROR, "")
    if not mirror or "://" in mirror:
        return None
    if not Path(mirror).is_dir():
        raise UserError(f"{MIRROR} names {mirror}, which is not a folder; correct it or unset it")
    path = Path(mirror) / file.path
    if not path.is_file():
        return None
    if fault := _fault_unless_known(path, file, cache):
        raise UserError(f"{path}: {fault}; replace it, or unset {MIRROR} to download it from {file.urls[0]}")
    return path


def _fault(path: Path, file: File) -> str | None:
    """Return what is wrong with the copy at `path`, or None."""
    size = path.stat().st_size
    if file.size is not None and size != file.size:
        return f"has {size:,} bytes, not {file.size:,}"
    algorithm, expected = file.checksum
    found = checksum(path, algorithm)
    return None if found == expected else f"has {algorithm} {found[:12]}..., not {expected[:12]}..."


def _fault_unless_known(path: Path, file: File, cache: Path) -> str | None:
    """Return `_fault`, without reading a file that was verified before and has not changed since."""
    stamp = _stamp(path, file)
    sidecar = _sidecar(file, cache)
    if sidecar.is_file() and sidecar.read_bytes() == stamp:
        return None
    fault = _fault(path, file)
    if fault is None:
        _remember(stamp, sidecar)
    return fault


def _sidecar(file: File, cache: Path) -> Path:
    # In the cache also for files of a mirror, because a mirror may be read-only.
    return cache / f"{file.path}.verified"


def _stamp(path: Path, file: File) -> bytes:
    """Return the record by which a verified copy is recognised."""
    status = path.stat()
    algorithm, value = file.checksum
    return os.fsencode(f"{algorithm} {value} {status.st_size} {status.st_mtime_ns} {path.resolve()}\n")


def _remember(stamp: bytes, sidecar: Path) -> None:
    # If it cannot be written, the file is only read again next time.
    with suppress(OSError):
        sidecar.parent.mkdir(parents=True, exist_ok=True)
        sidecar.write_bytes(stamp)


def _check_room(missing: Sequence[File], cache: Path) -> None:
    """Raise UserError unless the disk has room for the missing bytes. A file of unknown size counts as 0 bytes."""
    needed = sum(max(0, (file.size or 0) - _size(_part(file, cache))) for file in missing)
    folder = next(path for path in (cache, *cache.parents) if path.exists())
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise UserError(
            f"{cache}: the downloads still need {needed:,} bytes and {free:,} are free there; free space and run again"
        )


def _part(file: File, cache: Path) -> Path:
    return cache / f"{file.path}.part"


def _size(path: Path) -> int:
    """Return the size of a file in bytes, 0 if it does not exist."""
    return path.stat().st_size if path.exists() else 0


def _addresses(file: File) -> list[str]:
    """Return the addresses to try, in this order."""
    mirror = os.environ.get(MIRROR, "")
    addresses = [f"{mirror.rstrip('/')}/{file.path}"] if "://" in mirror else []
    addresses.extend(file.urls)
    for url in addresses:
        if not _is_web(url):
            raise UserError(f"{url}: {file.path} can be had over http or https only; correct the address")
    return addresses


def _download(file: File, cache: Path, stop: threading.Event) -> Path:
    """Receive a file from the first address that has it, verify it, and only then give it its name."""
    local, part = cache / file.path, _part(file, cache)
    failures = []
    try:
        with locked(local, stop):
            # Another process may have downloaded the file while this one waited.
            if ready := _ready(file, cache):
                return ready
            with progress(file.size, local.name, "B", initial=_size(part)) as bar:
                for url in _addresses(file):
                    try:
                        _Transfer(url, file, part, stop, bar).run()
                    except _Refused as refused:
                        failures.append(str(refused))
                        continue
                    os.replace(part, local)
                    _remember(_stamp(local, file), _sidecar(file, cache))
                    return local
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        needed = max(0, (file.size or 0) - _size(part))
        raise UserError(f"{part}: no disk space; free {needed:,} bytes and run again to resume") from None
    raise UserError(f"{'; '.join(failures)}; run again later, or set {MIRROR} to a folder that has {file.path}")


class _Transfer:
    """The transfer of one file from one address."""

    def __init__(self, url: str, file: File, part: Path, stop: threading.Event, bar: tqdm) -> None:
        self.url, self.file, self.part, self.stop, self.bar = url, file, part, stop, bar
        self.ranges = True
        """False after a wrong answer of the server to a request for the rest. Then the whole file is requested."""
        self.resumed = False
        """Whether `part` comes from more than one answer."""

    def run(self) -> None:
        """Receive the whole file into `part` and verify it. Raises _Refused if this address does not give it."""
        for _ in range(2):
            self.resumed = False
            self._insist()
            fault = _fault(self.part, self.file)
            if fault is None:
                return
            self.part.unlink()
            # A resumed file may mix two versions, so it is received once more. One that came in one piece would be as
            # wrong again.
            if not self.resumed:
                break
        raise _Refused(f"{self.url}: what came {fault}")

    def _insist(self) -> None:
        """Repeat the attempt until everything is there. Raises _Refused if len(DELAYS) + 1 in a row get no further."""
        furthest, failed = _size(self.part), 0
        while True:
            try:
                return self._receive()
            except _Broken as broken:
                have = _size(self.part)
                failed = 1 if have > furthest else failed + 1
                furthest = max(furthest, have)
                if failed > len(DELAYS):
                    raise _Refused(str(broken)) from None
                if self.stop.wait(max(DELAYS[failed - 1], broken.after)):
                    raise Stopped from None

    def _receive(self) -> None:
        """Make one attempt to receive the rest of `part`, or the whole file.

        Raises _Broken if not everything arrives.
        """
        size, have = self.file.size, _size(self.part)
        if not self.ranges or (size and have > size):
            have = 0
        if size and have == size:
            self.resumed = True
            return
        headers = {"User-Agent": "papers/1 (urllib)", **({"Range": f"bytes={have}-"} if have else {})}
        with self._network():
            request = urllib.request.Request(self.url, headers=headers)
            answer: http.client.HTTPResponse = urllib.request.build_opener(_WebOnly).open(request, timeout=TIMEOUT)
        with answer:
            start = self._begins(answer, have)
            offered = None if answer.length is None else start + answer.length
            if size and offered is not None and offered != size:
                raise _Refused(f"{self.url}: the server offers {offered:,} bytes, not {size:,}")
            self.resumed = start > 0
            self.bar.total = expected = size or offered
            received = self._pour(answer, start)
        if expected and received < expected:
            raise _Broken(f"{self.url}: broke off after {received:,} of {expected:,} bytes")

    def _begins(self, answer: http.client.HTTPResponse, have: int) -> int:
        """Return the byte of the file at which the answer begins: `have`, or 0 from a server that ignores Range."""
        if answer.headers.get_content_type() == "text/html":
            raise _Refused(f"{self.url}: the server sends a web page instead of the file")
        if answer.status != http.client.PARTIAL_CONTENT:
            return 0
        start = re.match(r"bytes (\d+)-", answer.headers.get("Content-Range", ""))
        if start is None or int(start[1]) != have:
            self.ranges = False
            raise _Broken(f"{self.url}: the server sends another range than was asked for")
        return have

    def _pour(self, answer: http.client.HTTPResponse, have: int) -> int:
        """Append the answer to the first `have` bytes of `part`. Returns how many bytes `part` then holds."""
        self.bar.update(have - self.bar.n)
        with self.part.open("ab" if have else "wb") as out:
            # Unlike read, read1 returns what has arrived so far, so nothing is lost when the connection breaks.
            while block := self._read(answer):
                out.write(block)
                self.bar.update(len(block))
                have += len(block)
                if self.stop.is_set():
                    raise Stopped
                if self.file.size and have > self.file.size:
                    break
        return have

    def _read(self, answer: http.client.HTTPResponse) -> bytes:
        with self._network():
            return answer.read1(BLOCK)

    @contextmanager
    def _network(self) -> Iterator[None]:
        """Raise _Broken or _Refused for errors of the network and the server.

        The block must not use the disk, whose errors are of the same types.
        """
        try:
            yield
        except urllib.error.HTTPError as error:
            error.close()
            code = error.code
            # urllib's message about a redirect loop has several lines.
            what = f"{self.url}: the server answers {code} {' '.join(str(error.reason).split())}"
            if code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
                self.ranges = False
            elif code < 500 and code not in (http.client.REQUEST_TIMEOUT, http.client.TOO_MANY_REQUESTS):
                raise _Refused(what) from None
            raise _Broken(what, _retry_after(error.headers)) from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            reason = getattr(error, "reason", None) or error
            what = f"{self.url}: cannot be read ({str(reason) or type(error).__name__})"
            if isinstance(reason, (ValueError, http.client.InvalidURL, ssl.SSLCertVerificationError)):
                raise _Refused(what) from None
            raise _Broken(what) from None


def _retry_after(headers: Message) -> float:
    """Return the seconds that the server asks to wait (RFC 9110, 10.2.3: number or date), at most LONGEST_DELAY."""
    asked = headers.get("Retry-After", "0")
    try:
        seconds = float(asked) if asked.isdecimal() else parsedate_to_datetime(asked).timestamp() - time.time()
    except ValueError:
        return 0
    return min(max(0, seconds), LONGEST_DELAY)
