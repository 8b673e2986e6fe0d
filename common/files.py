"""Write files completely or not at all, lock them against other processes, and read them as text.

What the repository keeps goes through here, so that a killed process or a full disk leaves no half-written file. The
arrays of a preparation are written into a working folder, which takes its place as a whole.
"""

from __future__ import annotations

import codecs
import errno
import fcntl
import hashlib
import json
import os
import re
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from common.errors import UserError

BLOCK = 1 << 20
"""Largest number of bytes read at a time."""
HALF = ".*.part*"
"""Glob pattern of the partial files that a killed `write_whole` leaves in a folder."""

_MARK = re.compile(rb"\A(?:\xef\xbb\xbf)+")
_OTHER_MARKS = {
    "UTF-32": (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE),  # before UTF-16: one of these begins with a UTF-16 mark
    "UTF-16": (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE),
}
_LOOKED_AT = 256
"""Number of bytes at the beginning of a text that are checked for zeros. In UTF-16 about every second byte is 0."""


def write_whole(path: Path, content: str | bytes | Callable[[Path], None]) -> None:
    """Write a file so that a reader sees the old file or the new one, never a part. Make its folder if needed.

    content: text, bytes, or a function that writes the file to the path that it is given.
    Raises UserError if the operating system refuses, for example because the disk is full.
    """
    part = _part(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if callable(content):
            content(part)
        else:
            part.write_bytes(content.encode() if isinstance(content, str) else content)
        with open(part, "rb") as handle:
            os.fsync(handle.fileno())
        os.replace(part, path)
    except OSError as error:
        raise _unwritable(path, error) from None
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def check_writable(path: Path) -> None:
    """Raise UserError now if `write_whole` could not write the file after the work that it is for. Make its folder."""
    try:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        path.parent.mkdir(parents=True, exist_ok=True)
        _part(path).touch()
        _part(path).unlink()
    except OSError as error:
        raise _unwritable(path, error) from None


def _part(path: Path) -> Path:
    """Return where this process writes a file before it is whole."""
    return path.with_name(f".{path.name}.part{os.getpid()}")


def _unwritable(path: Path, error: OSError) -> UserError:
    reason = error.strerror or " ".join(str(error).split())
    return UserError(f"{path}: cannot be written ({reason}); free space or choose another folder, then run again")


def write_once(path: Path, content: str | bytes | Callable[[Path], None]) -> None:
    """Call `write_whole` unless the file exists. A file under its final name is always complete."""
    if not path.exists():
        write_whole(path, content)


def write_json(path: Path, value: Any, indent: int | None = 2) -> None:
    """Write the value as JSON with `write_whole`. Raises ValueError for NaN and infinities, which JSON lacks."""
    write_whole(path, json.dumps(value, indent=indent, ensure_ascii=False, allow_nan=False) + "\n")


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Let Ctrl-C wait for the end of the block, for libraries that take an interrupt for an error of their own."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    waiting: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: waiting.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if waiting:
            raise KeyboardInterrupt


class Stopped(Exception):
    """Raised when another thread ends a wait."""


@contextmanager
def locked(path: Path, stop: threading.Event | None = None) -> Iterator[None]:
    """Hold a lock on `path` against other processes that call this function for the same path.

    The operating system releases the lock if this process is killed.
    stop: another thread sets it to end the wait for the lock; then Stopped is raised.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    stop = stop or threading.Event()
    with open(path.with_name(f"{path.name}.lock"), "w", encoding="utf-8") as handle:
        while True:
            with suppress(BlockingIOError):
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            if stop.wait(0.1):
                raise Stopped
        yield


def checksum(path: Path, algorithm: str = "sha256") -> str:
    """Return the hexadecimal digest of a file's bytes."""
    digest = hashlib.new(algorithm, usedforsecurity=False)
    with path.open("rb") as handle:
        while block := handle.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


def checksums(folder: Path) -> dict[str, str]:
    """Return the SHA-256 digests of all files under a folder, by their paths in it."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): checksum(path) for path in paths}


def first_changed(folder: Path, sums: Mapping[str, str]) -> Path | None:
    """Return the first file that is missing or has another digest than `checksums` found. None if all are the same."""
    return next((folder / name for name, digest in sums.items() if not _has(folder / name, digest)), None)


def _has(path: Path, digest: str) -> bool:
    try:
        return checksum(path) == digest
    except (OSError, ValueError):  # the latter for a name that no file can have
        return False


def sha256_json(value: Any) -> str:
    """Return the hexadecimal SHA-256 digest of a value as JSON. The order of its keys does not matter.

    Raises ValueError for NaN and infinities.
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def read_text(path: Path, cure: str) -> str:
    """Return the complete text of a UTF-8 file, with every character unchanged.

    Raises UserError, which ends in `cure`, if the file cannot be read or is not UTF-8.
    """
    try:
        return path.read_bytes().decode("utf-8")
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; {cure}") from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: damaged (not UTF-8); {cure}") from None


def without_mark(beginning: bytes, name: str) -> bytes:
    """Return the beginning of a text, one line or more, without a UTF-8 byte order mark.

    Raises UserError for a mark of UTF-16 or UTF-32, for binary data, and for lines that end in carriage returns only.
    """
    for encoding, marks in _OTHER_MARKS.items():
        if beginning.startswith(marks):
            raise UserError(f"{name} is {encoding}; convert it with iconv -f {encoding} -t UTF-8")
    if beginning[:_LOOKED_AT].count(0) > len(beginning[:_LOOKED_AT]) // 4:
        raise UserError(f"{name} is binary, or UTF-16 without its mark; convert it with iconv -f UTF-16LE -t UTF-8")
    beginning = _MARK.sub(b"", beginning)
    if b"\n" not in beginning and b"\r" in beginning.rstrip(b"\r"):
        raise UserError(f"{name} ends its lines with carriage returns alone; convert it with tr '\\r' '\\n'")
    return beginning


def utf8_lines(content: bytes, name: str, first_line: int = 1) -> list[str]:
    """Return the lines of UTF-8 `content`, which begins with line `first_line` of the file `name`.

    Only a line feed ends a line. A carriage return inside a line, U+2028 and similar characters stay in the line.
    Raises UserError naming the first line that is not UTF-8.
    """
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        number = content.count(b"\n", 0, error.start) + first_line
        raise UserError(f"{name}, line {number:,}: not UTF-8; convert it with iconv -f ENCODING -t UTF-8") from None
    lines = text.split("\n")
    if not lines[-1]:
        lines.pop()
    return [line.removesuffix("\r") for line in lines]
