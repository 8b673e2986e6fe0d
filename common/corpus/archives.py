"""Files as streams of bytes: plain, compressed, or a named member of an archive that is never unpacked.

The first bytes of a file decide how it is compressed, whatever its name says.
Nothing is written and no link is followed. So no name inside an archive can lead to another file.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import re
import tarfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from common.errors import UserError
from common.files import BLOCK

ARCHIVE = re.compile(r"(.+?\.(?:tar(?:\.(?:gz|xz|bz2))?|tgz|txz|tbz2?))(?: (.+))?", re.IGNORECASE | re.DOTALL)
"""Name of an archive, which a space and the name of a member may follow."""
_READERS: dict[str, Callable[[Any], Any]] = {
    "gz": lambda raw: gzip.GzipFile(fileobj=raw),
    "xz": lzma.LZMAFile,
    "bz2": bz2.BZ2File,
}
_SUFFIXES = {".tgz": "gz", ".txz": "xz", ".tbz": "bz2", ".tbz2": "bz2", **{f".{kind}": kind for kind in _READERS}}
_BEGINNINGS = {
    "gz": re.compile(rb"\x1f\x8b"),
    "xz": re.compile(rb"\xfd7zXZ\0"),
    "bz2": re.compile(rb"BZh[1-9](?:1AY&SY|\x17rE8P\x90)"),
}
_REFUSED = (
    (re.compile(rb"PK\x03\x04"), "a zip archive; unpack it, and name the files that were in it"),
    (re.compile(rb"\x28\xb5\x2f\xfd"), "compressed with zstd; decompress it (zstd -d), and name what it gives"),
    (re.compile(rb".{257}ustar", re.DOTALL), "an archive; name one of its members, after a space"),
)
"""First bytes of files that are not text, and what to do with such a file."""


class Stream:
    """The bytes of a file or member from start to end. `name` says in messages where they come from."""

    def __init__(self, raw: io.BufferedIOBase, name: str) -> None:
        self.name = name
        self.head = b""
        """Bytes that were already examined. They are returned before all others."""
        self._raw = raw

    def read(self, size: int = -1) -> bytes:
        """Return the next `size` bytes, fewer only at the end, or all that are left if `size` is negative.

        Raises UserError if the file is cut short or damaged.
        """
        head = self.head if size < 0 else self.head[:size]
        self.head = self.head[len(head) :]
        with _as_user_error(self.name):
            return head + self._raw.read(size if size < 0 else size - len(head))


@contextmanager
def open_member(path: Path, member: str | None) -> Iterator[Stream]:
    """Open a file, or the member of exactly that name (apart from a leading `./`) in a tar archive.

    Both are decompressed (gzip, xz, bzip2). In an uncompressed archive the member is found by seeking. A compressed one
    is read from its start up to the member, with a few blocks in memory.
    Raises UserError for a missing, damaged or unreadable file, for an unknown member, for a member that is not a
    regular file, and for a file that is itself an archive or is compressed in another way.
    """
    name = f"{path}:{member}" if member else str(path)
    with ExitStack() as stack:
        with _as_user_error(name):
            file = stack.enter_context(path.open("rb"))
            raw = _decompressed(file, path.suffix)
            if member:
                mode = "r:" if raw is file else "r|"
                tar = tarfile.open(fileobj=raw, mode=mode, bufsize=BLOCK, tarinfo=_Header)  # type: ignore[call-overload]
                raw = _decompressed(_find(tar, path, member), Path(member).suffix)
            stream = Stream(raw, name)
            stream.head = raw.read(BLOCK)
            for beginning, cure in _REFUSED:
                if beginning.match(stream.head):
                    raise UserError(f"{name} is {cure}")
        yield stream


class _Header(tarfile.TarInfo):
    """A tar header for which damage is an error. tarfile's own class ends silently there."""

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> _Header:
        try:
            return super().fromtarfile(archive)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(str(error)) from None


def _find(tar: tarfile.TarFile, path: Path, member: str) -> io.BufferedReader:
    names = []
    for info in tar:
        if info.name.removeprefix("./") != member:
            names.append(info.name)
        elif info.isreg() and (content := tar.extractfile(info)):
            # tarfile's own buffer of 8 KiB costs a decompressor a fifth of its speed.
            return io.BufferedReader(content, BLOCK)  # type: ignore[arg-type]
        else:
            raise UserError(f"{path}: {member} is a link, folder or device, not a file; get the archive as published")
    known = ", ".join(map(repr, get_close_matches(member, names) or names[:3])) or "nothing"
    raise UserError(f"{path} has no member {member}; among its {len(names):,} there is {known}; correct the name")


def compression(beginning: bytes) -> str | None:
    """Return how a file that begins with these bytes is compressed: gz, xz, bz2, or None."""
    return next((kind for kind, known in _BEGINNINGS.items() if known.match(beginning)), None)


def _decompressed(raw: io.BufferedReader, suffix: str) -> io.BufferedIOBase:
    """Return the decompressed content of `raw`.

    Reading raises an error if only the file's name says that it is compressed.
    """
    kind = compression(raw.peek(16)) or _SUFFIXES.get(suffix.lower())
    return _READERS[kind](raw) if kind else raw


@contextmanager
def _as_user_error(name: str) -> Iterator[None]:
    """Turn an error of the readers into a UserError.

    ValueError and OverflowError come from numbers in bad headers.
    """
    damage = (EOFError, zlib.error, lzma.LZMAError, tarfile.TarError, gzip.BadGzipFile, ValueError, OverflowError)
    try:
        yield
    except damage as error:
        raise UserError(f"{name}: not whole, or not what the file name says ({error}); copy it again") from None
    except OSError as error:
        if error.strerror is None:  # bz2 raises it for data that is not bzip2
            raise UserError(f"{name}: not whole, or not what the file name says ({error}); copy it again") from None
        raise UserError(f"{name}: {error.strerror}; check the path") from None
