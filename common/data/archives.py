"""Files as streams of bytes: plain, compressed, or a named member of an archive that is never unpacked.

Nothing is written and no link is followed, so whatever names an archive holds, none of them leads anywhere.
"""

from __future__ import annotations

import gzip
import io
import lzma
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from difflib import get_close_matches
from pathlib import Path

from common.errors import UserError

BLOCK = 1 << 20
"""Bytes read at a time."""


class Stream:
    """The bytes of a file or member from start to end; `name` says for messages where they are from."""

    def __init__(self, raw: io.BufferedIOBase, name: str) -> None:
        self.name = name
        self._raw = raw

    def read(self, size: int = -1) -> bytes:
        """The next `size` bytes, fewer only at the end, all that are left if negative.

        Raises UserError where the file is cut short or damaged.
        """
        with _told(self.name):
            return self._raw.read(size)


@contextmanager
def open_member(path: Path, member: str | None) -> Iterator[Stream]:
    """A file, or the member of exactly that name (`./` before it aside) in a .tar, .tgz, .tar.gz or .tar.xz archive.

    A name that ends in .gz or .xz is decompressed, that of a member too. An uncompressed archive is sought through;
    a compressed one is read from its start up to the member, in memory for a few blocks.
    Raises UserError for a missing, damaged or unreadable file, an unknown member, one that is no regular file.
    """
    name = f"{path}:{member}" if member else str(path)
    with ExitStack() as stack:
        with _told(name):
            raw = _decompressed(stack.enter_context(path.open("rb")), path.suffix)
            if member:
                mode = "r:" if path.suffix == ".tar" else "r|"
                tar = tarfile.open(fileobj=raw, mode=mode, bufsize=BLOCK, tarinfo=_Header)  # type: ignore[call-overload]
                raw = _decompressed(_find(tar, path, member), Path(member).suffix)
        yield Stream(raw, name)


class _Header(tarfile.TarInfo):
    """A header of which a damaged one is an error, where tarfile takes it for the end of the archive."""

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> _Header:
        try:
            return super().fromtarfile(archive)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(str(error)) from None


def _find(tar: tarfile.TarFile, path: Path, member: str) -> io.BufferedIOBase:
    names = []
    for info in tar:
        if info.name.removeprefix("./") != member:
            names.append(info.name)
        elif info.isreg() and (content := tar.extractfile(info)):
            # tarfile's own buffer of 8 KiB costs a decompressor a fifth of its speed.
            return io.BufferedReader(content, BLOCK)  # type: ignore[type-var]
        else:
            raise UserError(f"{path}: {member} is a link, folder or device, not a file; get the archive as published")
    known = ", ".join(map(repr, get_close_matches(member, names) or names[:3])) or "nothing"
    raise UserError(f"{path} has no member {member}; among its {len(names):,} there is {known}; correct the name")


def _decompressed(raw: io.BufferedIOBase, suffix: str) -> io.BufferedIOBase:
    if suffix in (".gz", ".tgz"):
        return gzip.GzipFile(fileobj=raw)
    return lzma.LZMAFile(raw) if suffix == ".xz" else raw  # type: ignore[arg-type]


@contextmanager
def _told(name: str) -> Iterator[None]:
    """Turn what the readers raise into one line; ValueError and OverflowError come from numbers in bad headers."""
    damage = (EOFError, zlib.error, lzma.LZMAError, tarfile.TarError, gzip.BadGzipFile, ValueError, OverflowError)
    try:
        yield
    except damage as error:
        raise UserError(f"{name}: not whole, or not what the file name says ({error}); copy it again") from None
    except OSError as error:
        raise UserError(f"{name}: {error.strerror}; check the path") from None
