"""Files by address and checksum: taken from the cache or a mirror, else downloaded; verified before use."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import http.client
import os
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from common.data.progress import progress
from common.errors import UserError

MIRROR = "PAPERS_MIRROR"
"""Environment variable: a folder, or an address, that is asked for `<corpus>/<file name>` before the public one."""
BLOCK = 1 << 20
"""Bytes read at a time."""
TIMEOUT = 60
"""Seconds without an answer after which a server counts as gone."""


@dataclass(frozen=True)
class File:
    """A public file. `size` (bytes) is None where nobody published it; one of the two sums is always there."""

    url: str
    path: str
    """`<corpus>/<file name>`: its place in the cache and in a mirror."""
    size: int | None
    sha256: str | None
    md5: str | None = None

    @property
    def checksum(self) -> tuple[str, str]:
        """Name and hexadecimal value of the published sum."""
        return ("sha256", self.sha256) if self.sha256 else ("md5", self.md5 or "")


class _NotFound(UserError):
    """The server does not have the file; another address may."""


def fetch(file: File, cache: Path) -> Path:
    """The path of a verified copy of `file`, downloading into `cache` when neither it nor the mirror has one.

    A copy in a mirror folder is used in place. An interrupted download is kept as `.part` and resumed.
    Raises UserError for a wrong checksum, an unreachable or misbehaving server, a full disk.
    """
    local = cache / file.path
    if _intact(local, file):
        return local
    mirror = os.environ.get(MIRROR, "")
    addresses = [file.url]
    if "://" in mirror:
        addresses.insert(0, f"{mirror.rstrip('/')}/{file.path}")
    elif mirror and (found := _in_folder(file, Path(mirror))):
        return found
    try:
        with locked(local):
            return local if _intact(local, file) else _first(addresses, file, local)
    except OSError as error:
        raise UserError(f"{error.filename or local}: {error.strerror}; mend that and run again") from None


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold `path` against other processes that ask the same; the system lets go if this one is killed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path.with_name(f"{path.name}.lock"), "w", encoding="utf-8") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def checksum(path: Path, algorithm: str = "sha256") -> str:
    """Hexadecimal digest of a file's bytes."""
    digest = hashlib.new(algorithm, usedforsecurity=False)
    with path.open("rb") as handle:
        while block := handle.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _fault(path: Path, file: File) -> str | None:
    """What is wrong with the copy at `path`, or None."""
    size = path.stat().st_size
    if file.size is not None and size != file.size:
        return f"has {size:,} bytes, not {file.size:,}"
    algorithm, expected = file.checksum
    found = checksum(path, algorithm)
    return None if found == expected else f"has {algorithm} {found[:12]}..., not {expected[:12]}..."


def _intact(path: Path, file: File) -> bool:
    return path.is_file() and _fault(path, file) is None


def _in_folder(file: File, mirror: Path) -> Path | None:
    """The mirror folder's copy, verified; None when it has none."""
    if not mirror.is_dir():
        raise UserError(f"{MIRROR} names {mirror}, which is not a folder; correct it or unset it")
    path = mirror / file.path
    if not path.is_file():
        return None
    if fault := _fault(path, file):
        raise UserError(f"{path}: {fault}; replace it, or unset {MIRROR} to download it from {file.url}")
    return path


def _first(addresses: list[str], file: File, local: Path) -> Path:
    """Download from the first address that has the file."""
    for url in addresses[:-1]:
        try:
            return _download(url, file, local)
        except _NotFound:
            continue
    return _download(addresses[-1], file, local)


def _download(url: str, file: File, local: Path) -> Path:
    """Receive, verify, and only then give the file its name."""
    part = local.with_name(f"{local.name}.part")
    _receive(url, file, part)
    if fault := _fault(part, file):
        part.unlink()
        raise UserError(f"{url}: what came {fault}; run again, or put a good copy at {local}")
    os.replace(part, local)
    return local


def _receive(url: str, file: File, part: Path) -> None:
    """All bytes of `url` in `part`, going on from what an earlier attempt left there."""
    have = part.stat().st_size if part.exists() and file.size else 0
    if file.size and have == file.size:
        return
    have = have if have < (file.size or 0) else 0
    headers = {"User-Agent": "papers/1 (urllib)", **({"Range": f"bytes={have}-"} if have else {})}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT) as response:
            # A server that ignores Range answers 200 with the whole file, so the part starts over.
            have = have if response.status == http.client.PARTIAL_CONTENT else 0
            _refuse_other_content(response, url, file, have)
            received = _pour(response, part, file, have)
    except urllib.error.HTTPError as error:
        kind = _NotFound if error.code in (404, 410) else UserError
        raise kind(f"{url}: the server answers {error.code} {error.reason}; {_other_way(file)}") from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise UserError(_what_failed(error, url, file, part)) from None
    if file.size and received < file.size:
        raise UserError(f"{url}: broke off after {received:,} of {file.size:,} bytes; run again to resume")


def _refuse_other_content(response: http.client.HTTPResponse, url: str, file: File, have: int) -> None:
    """UserError, before anything is written, for an error page or another file under the same name."""
    if response.headers.get_content_type() == "text/html":
        raise UserError(f"{url}: the server sends a web page instead of the file; {_other_way(file)}")
    offered = response.headers.get("Content-Length")
    if file.size and offered and have + int(offered) != file.size:
        total = have + int(offered)
        raise UserError(f"{url}: the server offers {total:,} bytes, not {file.size:,}; {_other_way(file)}")


def _pour(response: IO[bytes], part: Path, file: File, have: int) -> int:
    """Append the response to the first `have` bytes of `part`; how many bytes it holds then."""
    with part.open("ab" if have else "wb") as out, progress(file.size, part.stem, "B", initial=have) as bar:
        while block := response.read(BLOCK):
            out.write(block)
            bar.update(len(block))
            have += len(block)
            if file.size and have > file.size:
                break
    return have


def _what_failed(error: Exception, url: str, file: File, part: Path) -> str:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return f"{part}: no disk space; free {file.size or 0:,} bytes and run again to resume"
    if isinstance(error, PermissionError):
        return f"{part}: {error.strerror}; make the folder writable"
    reason = getattr(error, "reason", None) or error
    return f"{url}: cannot be read ({reason or type(error).__name__}); {_other_way(file)}"


def _other_way(file: File) -> str:
    return f"try later, or set {MIRROR} to a folder that has {file.path}"
