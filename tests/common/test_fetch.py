"""Downloads against a real HTTP server on this machine that misbehaves in every way a server can."""

from __future__ import annotations

import hashlib
import multiprocessing
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from common.data.fetch import MIRROR, File, checksum, fetch
from common.errors import UserError

CONTENT = bytes(range(256)) * 40
"""10,240 bytes."""


class Handler(BaseHTTPRequestHandler):
    """Serves CONTENT; the first folder of the address says how."""

    def do_GET(self) -> None:
        """Answer in the way the address asks for."""
        self.server.asked.append((self.path, self.headers.get("Range")))  # type: ignore[attr-defined]
        getattr(self, self.path.split("/")[1])()

    def _answer(self, status: int, body: bytes, length: int | None = None, kind: str = "application/gzip") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)

    def good(self) -> None:
        """As a server should, Range included."""
        wanted = self.headers.get("Range")
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0
        self._answer(206 if wanted else 200, CONTENT[start:])

    def no_range(self) -> None:
        """The whole file whatever was asked."""
        self._answer(200, CONTENT)

    def truncated(self) -> None:
        """Promises everything and hangs up after 3,000 bytes."""
        self._answer(200, CONTENT[:3000], length=len(CONTENT))

    def endless(self) -> None:
        """No length, and more than the file."""
        self.send_response(200)
        self.end_headers()
        self.wfile.write(CONTENT * 3)

    def wrong(self) -> None:
        """As many bytes as expected, but others."""
        self._answer(200, CONTENT[::-1])

    def other_size(self) -> None:
        """Another file, a few bytes shorter."""
        self._answer(200, CONTENT[:-7])

    def page(self) -> None:
        """A page that says the server is sorry, with status 200."""
        self._answer(200, b"<html>sorry</html>", kind="text/html; charset=utf-8")

    def missing(self) -> None:
        """404, as a page."""
        self._answer(404, b"<html>not here</html>", kind="text/html")

    def broken(self) -> None:
        """500."""
        self._answer(500, b"")

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.asked = []  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(autouse=True)
def no_mirror(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(MIRROR, raising=False)


def file_at(server: ThreadingHTTPServer, how: str, size: int | None = len(CONTENT)) -> File:
    url = f"http://127.0.0.1:{server.server_port}/{how}/train.en.gz"
    return File(url, "toy/train.en.gz", size, hashlib.sha256(CONTENT).hexdigest())


def leftovers(cache: Path) -> list[str]:
    return sorted(path.name for path in (cache / "toy").iterdir() if path.suffix != ".lock")


def test_downloads_once_and_then_uses_the_cache(server: ThreadingHTTPServer, tmp_path: Path) -> None:
    file = file_at(server, "good")
    first, second = fetch(file, tmp_path), fetch(file, tmp_path)
    assert first == second == tmp_path / "toy/train.en.gz"
    assert first.read_bytes() == CONTENT
    assert server.asked == [("/good/train.en.gz", None)]  # type: ignore[attr-defined]
    assert leftovers(tmp_path) == ["train.en.gz"]


def test_md5_and_unknown_size(server: ThreadingHTTPServer, tmp_path: Path) -> None:
    url = file_at(server, "good").url
    good = File(url, "toy/a.tgz", None, None, hashlib.md5(CONTENT).hexdigest())
    assert fetch(good, tmp_path).read_bytes() == CONTENT
    with pytest.raises(UserError, match="md5"):
        fetch(File(url, "toy/b.tgz", None, None, "0" * 32), tmp_path)


def test_resumes_where_an_earlier_attempt_broke_off(server: ThreadingHTTPServer, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"3,000 of 10,240 bytes; run again"):
        fetch(file_at(server, "truncated"), tmp_path)
    assert leftovers(tmp_path) == ["train.en.gz.part"]
    assert fetch(file_at(server, "good"), tmp_path).read_bytes() == CONTENT
    assert server.asked[-1] == ("/good/train.en.gz", "bytes=3000-")  # type: ignore[attr-defined]
    assert leftovers(tmp_path) == ["train.en.gz"]


def test_starts_over_when_the_server_ignores_range(server: ThreadingHTTPServer, tmp_path: Path) -> None:
    (tmp_path / "toy").mkdir()
    (tmp_path / "toy/train.en.gz.part").write_bytes(CONTENT[:500])
    assert fetch(file_at(server, "no_range"), tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize("size", [len(CONTENT), len(CONTENT) + 90])
def test_a_part_of_full_size_or_more_is_not_asked_for_again_as_a_range(
    server: ThreadingHTTPServer, tmp_path: Path, size: int
) -> None:
    (tmp_path / "toy").mkdir()
    (tmp_path / "toy/train.en.gz.part").write_bytes((CONTENT + CONTENT)[:size])
    assert fetch(file_at(server, "good"), tmp_path).read_bytes() == CONTENT
    asked = [] if size == len(CONTENT) else [("/good/train.en.gz", None)]
    assert server.asked == asked  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("wrong", "sha256 .* run again"),
        ("endless", "bytes, not 10,240"),
        ("other_size", "offers 10,233 bytes, not 10,240"),
        ("page", "web page"),
        ("missing", "404"),
        ("broken", "500"),
    ],
)
def test_a_misbehaving_server_is_one_line_and_leaves_nothing(
    server: ThreadingHTTPServer, tmp_path: Path, how: str, says: str
) -> None:
    with pytest.raises(UserError, match=says) as caught:
        fetch(file_at(server, how), tmp_path)
    assert "\n" not in str(caught.value)
    assert f"/{how}/train.en.gz" in str(caught.value)
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("how", ["page", "missing", "broken", "other_size"])
def test_an_error_page_does_not_spoil_a_partial_download(server: ThreadingHTTPServer, tmp_path: Path, how: str) -> None:
    (tmp_path / "toy").mkdir()
    (tmp_path / "toy/train.en.gz.part").write_bytes(CONTENT[:500])
    with pytest.raises(UserError):
        fetch(file_at(server, how), tmp_path)
    assert (tmp_path / "toy/train.en.gz.part").read_bytes() == CONTENT[:500]


def test_nobody_listens(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    file = File(f"http://127.0.0.1:{port}/x", "toy/x.gz", 5, "0" * 64)
    with pytest.raises(UserError, match=rf"{port}/x: cannot be read .*refused.*{MIRROR}.*toy/x\.gz"):
        fetch(file, tmp_path)


def test_a_damaged_cached_copy_is_replaced(server: ThreadingHTTPServer, tmp_path: Path) -> None:
    fetch(file_at(server, "good"), tmp_path).write_bytes(b"x" * len(CONTENT))
    assert fetch(file_at(server, "good"), tmp_path).read_bytes() == CONTENT


def test_mirror_folder_is_used_in_place(server: ThreadingHTTPServer, tmp_path: Path, monkeypatch) -> None:
    mirror, cache = tmp_path / "mirror", tmp_path / "cache"
    (mirror / "toy").mkdir(parents=True)
    (mirror / "toy/train.en.gz").write_bytes(CONTENT)
    monkeypatch.setenv(MIRROR, str(mirror))
    assert fetch(file_at(server, "good"), cache) == mirror / "toy/train.en.gz"
    assert not cache.exists() and server.asked == []  # type: ignore[attr-defined]


def test_mirror_folder_without_the_file_falls_back(server: ThreadingHTTPServer, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv(MIRROR, str(tmp_path))
    assert fetch(file_at(server, "good"), tmp_path / "cache").read_bytes() == CONTENT


def test_mirror_with_a_wrong_copy_or_no_folder(server: ThreadingHTTPServer, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "toy").mkdir()
    (tmp_path / "toy/train.en.gz").write_bytes(CONTENT[::-1])
    monkeypatch.setenv(MIRROR, str(tmp_path))
    with pytest.raises(UserError, match="toy/train.en.gz: has sha256"):
        fetch(file_at(server, "good"), tmp_path / "cache")
    monkeypatch.setenv(MIRROR, str(tmp_path / "nowhere"))
    with pytest.raises(UserError, match="nowhere, which is not a folder"):
        fetch(file_at(server, "good"), tmp_path / "cache")


def test_mirror_address_first_then_the_public_one(server: ThreadingHTTPServer, tmp_path: Path, monkeypatch) -> None:
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setenv(MIRROR, f"{address}/good/")
    assert fetch(file_at(server, "broken"), tmp_path / "one").read_bytes() == CONTENT
    monkeypatch.setenv(MIRROR, f"{address}/missing")
    assert fetch(file_at(server, "good"), tmp_path / "two").read_bytes() == CONTENT
    paths = [path for path, _ in server.asked]  # type: ignore[attr-defined]
    assert paths == ["/good/toy/train.en.gz", "/missing/toy/train.en.gz", "/good/train.en.gz"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full to stand for a full disk")
def test_no_disk_space(server: ThreadingHTTPServer, tmp_path: Path) -> None:
    (tmp_path / "toy").mkdir()
    (tmp_path / "toy/train.en.gz.part").symlink_to("/dev/full")
    with pytest.raises(UserError, match=r"train\.en\.gz\.part: no disk space; free 10,240 bytes"):
        fetch(file_at(server, "good"), tmp_path)


def test_a_folder_that_cannot_be_made(server: ThreadingHTTPServer, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="file"):
        fetch(file_at(server, "good"), tmp_path / "file")


def test_two_processes_download_once(server: ThreadingHTTPServer, tmp_path: Path) -> None:
    file = file_at(server, "good")
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=fetch, args=(file, tmp_path)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(30)
    assert [process.exitcode for process in processes] == [0] * 4
    assert len(server.asked) == 1  # type: ignore[attr-defined]
    assert leftovers(tmp_path) == ["train.en.gz"]


def test_checksum_of_known_bytes(tmp_path: Path) -> None:
    """FIPS 180-2, appendix B.1, and a file of more than one block."""
    (tmp_path / "abc").write_bytes(b"abc")
    assert checksum(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    content = b"more than one block" * 100_000
    (tmp_path / "long").write_bytes(content)
    assert checksum(tmp_path / "long") == hashlib.sha256(content).hexdigest()
