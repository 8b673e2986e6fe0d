"""Downloads against a real HTTP server on this machine that misbehaves in every way a server can."""

from __future__ import annotations

import dataclasses
import hashlib
import multiprocessing
import os
import shutil
import signal
import socket
import struct
import threading
import time
from collections import namedtuple
from collections.abc import Iterator
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from common.corpus import fetch as module
from common.corpus.fetch import MIRROR, PARALLEL, File, fetch_all
from common.errors import UserError
from common.files import checksum, locked

CONTENT = bytes(range(256)) * 40
"""10,240 bytes."""
HALF = 5000
ATTEMPTS = 3
"""In a row, none of which gets further: what the tests allow a server."""


class Server(ThreadingHTTPServer):
    """Remembers what it was asked, and lets requests wait for each other."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[tuple[str, str | None]] = []
        """Path and Range of every request."""
        self.lock = threading.Lock()
        self.together = threading.Barrier(PARALLEL, timeout=20)
        self.now = self.most = 0
        """Requests that are at the barrier now, and that were at most."""
        self.patience = 0.0
        """Before this time (of time.monotonic) nobody may ask again."""
        self.half_sent, self.closing = threading.Event(), threading.Event()

    def url(self, how: str) -> str:
        """Address of CONTENT, served in the way that a method of Handler describes."""
        return f"http://127.0.0.1:{self.server_port}/{how}/train.en.gz"

    def times(self, path: str) -> int:
        """How often `path` was asked for."""
        return sum(asked == path for asked, _ in self.asked)


class Handler(BaseHTTPRequestHandler):
    """Serves CONTENT; the first folder of the address says how."""

    server: Server

    def do_GET(self) -> None:
        """Answer in the way the address asks for."""
        self.server.asked.append((self.path, self.headers.get("Range")))
        getattr(self, self.path.split("/")[1])()

    def _answer(self, status: int, body: bytes, length: int | None = None, **headers: str) -> None:
        self.send_response(status)
        headers = {"Content_Type": "application/gzip", **headers}
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)

    def _start(self) -> int:
        return int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").removesuffix("-"))

    def _rest(self, content: bytes, sent: int | None = None) -> None:
        """What the Range asks for, of which only `sent` bytes are sent."""
        start, end = self._start(), len(content)
        if start >= end:
            return self._answer(416, b"", Content_Range=f"bytes */{end}")
        ranged = {"Content_Range": f"bytes {start}-{end - 1}/{end}"} if "Range" in self.headers else {}
        last = end if sent is None else start + sent
        self._answer(206 if ranged else 200, content[start:last], length=end - start, **ranged)

    def good(self) -> None:
        """As a server should, Range included."""
        self._rest(CONTENT)

    def no_range(self) -> None:
        """The whole file whatever was asked."""
        self._answer(200, CONTENT)

    def chunked(self) -> None:
        """The whole file in pieces, whose sum is not said before."""
        self.protocol_version = "HTTP/1.1"
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.send_header("Connection", "close")
        self.end_headers()
        for start in range(0, len(CONTENT), 999):
            piece = CONTENT[start : start + 999]
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        self.wfile.write(b"0\r\n\r\n")

    def truncated(self) -> None:
        """Promises everything, whatever was asked, and hangs up after 3,000 bytes."""
        self._answer(200, CONTENT[:3000], length=len(CONTENT))

    def stalls(self) -> None:
        """Sends 4,000 bytes more than it was asked for already, and then nothing until the client has gone."""
        self._rest(CONTENT, sent=4000)
        if self._start() + 4000 < len(CONTENT):
            self.server.closing.wait(20)

    def silent(self) -> None:
        """Takes the request and says nothing."""
        self.server.closing.wait(20)

    def resets(self) -> None:
        """A reset (RST) after every 1,000 bytes."""
        self._rest(CONTENT, sent=1000)
        if self._start() + 1000 < len(CONTENT):
            self._reset()

    def only_resets(self) -> None:
        """A reset instead of an answer."""
        self._reset()

    def _reset(self) -> None:
        """Close so that the other end sees a reset: without lingering and before the server can send a FIN."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.rfile.close()
        self.connection.close()

    def endless(self) -> None:
        """No length, and more than the file."""
        self.send_response(200)
        self.end_headers()
        self.wfile.write(CONTENT * 3)

    def wrong(self) -> None:
        """As many bytes as expected, but others; Range included."""
        self._rest(CONTENT[::-1])

    def wrong_range(self) -> None:
        """Asked for a range, sends another of the right length."""
        if "Range" not in self.headers:
            return self.good()
        rest = len(CONTENT) - self._start()
        self._answer(206, CONTENT[:rest], Content_Range=f"bytes 0-{rest - 1}/{len(CONTENT)}")

    def wrong_range_only(self) -> None:
        """The same, and nothing without a range."""
        self.wrong_range() if "Range" in self.headers else self.missing()

    def other_size(self) -> None:
        """Another file, a few bytes shorter."""
        self._answer(200, CONTENT[:-7])

    def page(self) -> None:
        """A page that says the server is sorry, with status 200."""
        self._answer(200, b"<html>sorry</html>", Content_Type="text/html; charset=utf-8")

    def missing(self) -> None:
        """404, as a page."""
        self._answer(404, b"<html>not here</html>", Content_Type="text/html")

    def gone(self) -> None:
        """410."""
        self._answer(410, b"")

    def broken(self) -> None:
        """500."""
        self._answer(500, b"")

    def broken_at_first(self) -> None:
        """500 and 503, then all is well."""
        attempt = self.server.times(self.path)
        if attempt < ATTEMPTS:
            return self._answer({1: 500, 2: 503}[attempt], b"")
        self.good()

    def _busy(self, seconds: float, said: str) -> None:
        """429 to the first and to all who come again before so many seconds have passed."""
        now = time.monotonic()
        with self.server.lock:
            self.server.patience = self.server.patience or now + seconds
        if now < self.server.patience:
            return self._answer(429, b"", Retry_After=said)
        self.good()

    def busy(self) -> None:
        """Asks for a second."""
        self._busy(1, "1")

    def busy_date(self) -> None:
        """Asks to come after a date, which in this format is between one and two seconds ahead."""
        self._busy(1, formatdate(time.time() + 2, usegmt=True))

    def busy_all_day(self) -> None:
        """Asks for a day, but means less."""
        self._busy(0.1, "86400")

    def ftp(self) -> None:
        """Sends on to another protocol."""
        self._answer(302, b"", Location="ftp://127.0.0.1:9/train.en.gz")

    def loop(self) -> None:
        """Sends on to itself."""
        self._answer(302, b"", Location=self.path)

    def moved(self) -> None:
        """Sends on to where all is well."""
        self._answer(301, b"", Location=self.path.replace("moved", "good"))

    def trickle(self) -> None:
        """HALF the file, and then a byte now and then."""
        self._rest(CONTENT, sent=HALF)
        self.server.half_sent.set()
        self._trickle_on()

    def _trickle_on(self) -> None:
        for byte in CONTENT[HALF:]:
            if self.server.closing.wait(0.02):
                break
            self.wfile.write(bytes([byte]))

    def missing_later(self) -> None:
        """404 once another download is under way."""
        self.server.half_sent.wait(20)
        self.missing()

    def interrupts(self) -> None:
        """The reader's Ctrl-C after HALF the file."""
        self._rest(CONTENT, sent=HALF)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        self._trickle_on()

    def meet(self) -> None:
        """Answers only when as many others ask as may at a time."""
        with self.server.lock:
            self.server.now += 1
            self.server.most = max(self.server.most, self.server.now)
        self.server.together.wait()
        # Long enough for more to come, if the client sent more.
        self.server.closing.wait(0.1)
        with self.server.lock:
            self.server.now -= 1
        self.good()

    def handle(self) -> None:
        """A client that hangs up is none of the server's business."""
        try:
            super().handle()
        except OSError:
            pass

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server
    server.closing.set()
    server.shutdown()
    server.server_close()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """No mirror, and short waits."""
    monkeypatch.delenv(MIRROR, raising=False)
    monkeypatch.setattr(module, "DELAYS", (0.01,) * (ATTEMPTS - 1))


def file_at(server: Server, *hows: str, size: int | None = len(CONTENT), name: str = "train.en.gz") -> File:
    urls = tuple(server.url(how).replace("train.en.gz", name) for how in hows)
    return File(urls, f"toy/{name}", size, hashlib.sha256(CONTENT).hexdigest())


def fetch(file: File, cache: Path) -> Path:
    """The path of the one file asked for."""
    return fetch_all([file], cache)[file.path]


def leave_part(cache: Path, content: bytes) -> Path:
    """What an earlier attempt left."""
    (cache / "toy").mkdir(parents=True)
    part = cache / "toy/train.en.gz.part"
    part.write_bytes(content)
    return part


def overwrite(path: Path, content: bytes) -> None:
    """Other content, at a time that differs from that of the old whatever the clock's grain."""
    before = path.stat().st_mtime_ns
    path.write_bytes(content)
    os.utime(path, ns=(before, before + 10**6))


def leftovers(cache: Path) -> list[str]:
    return sorted(path.name for path in (cache / "toy").iterdir() if path.suffix != ".lock")


WHOLE = ["train.en.gz", "train.en.gz.verified"]
"""What a finished download leaves."""


def test_downloads_once_and_then_uses_the_cache(server: Server, tmp_path: Path) -> None:
    file = file_at(server, "good")
    first, second = fetch(file, tmp_path), fetch(file, tmp_path)
    assert first == second == tmp_path / "toy/train.en.gz"
    assert first.read_bytes() == CONTENT
    assert server.asked == [("/good/train.en.gz", None)]
    assert leftovers(tmp_path) == WHOLE


def test_md5_and_unknown_size(server: Server, tmp_path: Path) -> None:
    urls = (server.url("good"),)
    good = File(urls, "toy/a.tgz", None, None, hashlib.md5(CONTENT).hexdigest())
    assert fetch(good, tmp_path).read_bytes() == CONTENT
    with pytest.raises(UserError, match="md5"):
        fetch(File(urls, "toy/b.tgz", None, None, "0" * 32), tmp_path)


@pytest.mark.parametrize("size", [len(CONTENT), None])
@pytest.mark.parametrize("how", ["chunked", "no_range", "moved"])
def test_other_ways_to_serve_a_file(server: Server, tmp_path: Path, how: str, size: int | None) -> None:
    assert fetch(file_at(server, how, size=size), tmp_path).read_bytes() == CONTENT


def test_resumes_where_an_earlier_run_broke_off(server: Server, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"3,000 of 10,240 bytes; run again"):
        fetch(file_at(server, "truncated"), tmp_path)
    assert server.times("/truncated/train.en.gz") == ATTEMPTS
    assert leftovers(tmp_path) == ["train.en.gz.part"]
    assert fetch(file_at(server, "good"), tmp_path).read_bytes() == CONTENT
    assert server.asked[-1] == ("/good/train.en.gz", "bytes=3000-")
    assert leftovers(tmp_path) == WHOLE


@pytest.mark.parametrize("size", [len(CONTENT), None])
@pytest.mark.parametrize(("how", "step"), [("resets", 1000), ("stalls", 4000)])
def test_an_attempt_that_gets_further_counts_as_the_first(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str, step: int, size: int | None
) -> None:
    """More breaks than attempts in a row, each going on where the one before broke off."""
    monkeypatch.setattr(module, "TIMEOUT", 0.3 if how == "stalls" else 20)
    assert fetch(file_at(server, how, size=size), tmp_path).read_bytes() == CONTENT
    starts = [f"bytes={start}-" for start in range(step, len(CONTENT), step)]
    assert server.asked == [(f"/{how}/train.en.gz", start) for start in [None, *starts]]
    assert leftovers(tmp_path) == WHOLE


@pytest.mark.parametrize(("how", "says"), [("silent", "timed out"), ("only_resets", "reset by peer")])
def test_a_server_that_never_answers(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str, says: str
) -> None:
    monkeypatch.setattr(module, "TIMEOUT", 0.1 if how == "silent" else 20)
    with pytest.raises(UserError, match=rf"/{how}/train\.en\.gz: cannot be read \(.*{says}\); run again later"):
        fetch(file_at(server, how), tmp_path)
    assert len(server.asked) == ATTEMPTS and leftovers(tmp_path) == []


def test_starts_over_when_the_server_ignores_range(server: Server, tmp_path: Path) -> None:
    leave_part(tmp_path, CONTENT[:500])
    assert fetch(file_at(server, "no_range"), tmp_path).read_bytes() == CONTENT


def test_starts_over_when_the_server_sends_another_range(server: Server, tmp_path: Path) -> None:
    leave_part(tmp_path, CONTENT[:500])
    assert fetch(file_at(server, "wrong_range"), tmp_path).read_bytes() == CONTENT
    assert [asked for _, asked in server.asked] == ["bytes=500-", None]


def test_starts_over_when_there_is_no_such_range(server: Server, tmp_path: Path) -> None:
    leave_part(tmp_path, CONTENT + b"more")
    assert fetch(file_at(server, "good", size=None), tmp_path).read_bytes() == CONTENT
    assert [asked for _, asked in server.asked] == ["bytes=10244-", None]


@pytest.mark.parametrize("size", [len(CONTENT), len(CONTENT) + 90])
def test_a_part_of_full_size_or_more_is_not_asked_for_again_as_a_range(
    server: Server, tmp_path: Path, size: int
) -> None:
    leave_part(tmp_path, (CONTENT + CONTENT)[:size])
    assert fetch(file_at(server, "good"), tmp_path).read_bytes() == CONTENT
    assert server.asked == ([] if size == len(CONTENT) else [("/good/train.en.gz", None)])


@pytest.mark.parametrize("have", [500, len(CONTENT)])
def test_a_file_that_changed_meanwhile_comes_afresh(server: Server, tmp_path: Path, have: int) -> None:
    leave_part(tmp_path, b"x" * have)
    assert fetch(file_at(server, "good"), tmp_path).read_bytes() == CONTENT
    assert [asked for _, asked in server.asked] == (["bytes=500-", None] if have == 500 else [None])
    assert leftovers(tmp_path) == WHOLE


def test_one_fresh_download_at_most_from_an_address(server: Server, tmp_path: Path) -> None:
    leave_part(tmp_path, b"x" * 500)
    with pytest.raises(UserError, match="has sha256"):
        fetch(file_at(server, "wrong"), tmp_path)
    assert [asked for _, asked in server.asked] == ["bytes=500-", None]
    assert leftovers(tmp_path) == []


MISBEHAVIOUR = [
    ("wrong", "sha256 .* run again", 1),
    ("endless", "bytes, not 10,240", 1),
    ("other_size", "offers 10,233 bytes, not 10,240", 1),
    ("page", "web page", 1),
    ("missing", "404", 1),
    ("gone", "410", 1),
    ("ftp", "302 .*ftp://", 1),
    ("loop", "302", None),
    ("broken", "500", ATTEMPTS),
]
"""What a server does, what is said, how often it is asked (None: as urllib decides)."""


@pytest.mark.parametrize(("how", "says", "times"), MISBEHAVIOUR)
def test_a_misbehaving_server_is_one_line_and_leaves_nothing(
    server: Server, tmp_path: Path, how: str, says: str, times: int | None
) -> None:
    with pytest.raises(UserError, match=says) as caught:
        fetch(file_at(server, how), tmp_path)
    assert "\n" not in str(caught.value)
    assert f"/{how}/train.en.gz" in str(caught.value)
    assert leftovers(tmp_path) == []
    assert times is None or len(server.asked) == times


@pytest.mark.parametrize("how", [how for how, _, _ in MISBEHAVIOUR])
def test_the_next_address_is_asked(server: Server, tmp_path: Path, how: str) -> None:
    assert fetch(file_at(server, how, "good"), tmp_path).read_bytes() == CONTENT
    assert server.asked[-1] == ("/good/train.en.gz", None) and leftovers(tmp_path) == WHOLE


@pytest.mark.parametrize("size", [len(CONTENT), None])
def test_the_next_address_goes_on_where_the_first_broke_off(server: Server, tmp_path: Path, size: int | None) -> None:
    assert fetch(file_at(server, "truncated", "good", size=size), tmp_path).read_bytes() == CONTENT
    assert server.asked[-1] == ("/good/train.en.gz", "bytes=3000-")


def test_what_every_address_did_is_said_in_one_line(server: Server, tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"/missing/\S+: .*404.*; http\S+/page/\S+: .*web page.*; http.*sha256"
    ) as caught:
        fetch(file_at(server, "missing", "page", "wrong"), tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["file:///etc/hostname", "ftp://127.0.0.1/x", "/etc/hostname", "http://[", "http://a b/"]
)
def test_an_address_that_is_none(server: Server, tmp_path: Path, url: str) -> None:
    with pytest.raises(UserError) as caught:
        fetch(dataclasses.replace(file_at(server), urls=(url,)), tmp_path)
    assert str(caught.value).startswith(f"{url}: ")


@pytest.mark.parametrize("how", ["page", "missing", "broken", "other_size", "wrong_range_only"])
def test_an_error_page_does_not_spoil_a_partial_download(server: Server, tmp_path: Path, how: str) -> None:
    part = leave_part(tmp_path, CONTENT[:500])
    with pytest.raises(UserError):
        fetch(file_at(server, how), tmp_path)
    assert part.read_bytes() == CONTENT[:500]


def test_a_server_that_recovers(server: Server, tmp_path: Path) -> None:
    assert fetch(file_at(server, "broken_at_first"), tmp_path).read_bytes() == CONTENT
    assert len(server.asked) == ATTEMPTS


@pytest.mark.parametrize("how", ["busy", "busy_date"])
def test_waits_as_long_as_the_server_asks(server: Server, tmp_path: Path, how: str) -> None:
    """The server goes on refusing those who come back too early, more often than there are attempts."""
    assert fetch(file_at(server, how), tmp_path).read_bytes() == CONTENT
    assert len(server.asked) == 2


def test_does_not_wait_all_day(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LONGEST_DELAY", 0.2)
    assert fetch(file_at(server, "busy_all_day"), tmp_path).read_bytes() == CONTENT


def test_nobody_listens(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    file = File((f"http://127.0.0.1:{port}/x",), "toy/x.gz", 5, "0" * 64)
    with pytest.raises(UserError, match=rf"{port}/x: cannot be read .*refused.*{MIRROR}.*toy/x\.gz"):
        fetch(file, tmp_path)


def test_several_files_at_a_time_but_not_too_many(server: Server, tmp_path: Path) -> None:
    """Each request is answered only when PARALLEL of them have come."""
    files = [file_at(server, "meet", name=f"{number}.gz") for number in range(2 * PARALLEL)]
    paths = fetch_all([*files, files[0]], tmp_path)
    assert paths == {file.path: tmp_path / file.path for file in files}
    assert all(path.read_bytes() == CONTENT for path in paths.values())
    assert server.most == PARALLEL and len(server.asked) == len(files)


def test_one_failure_stops_the_others_and_loses_nothing(server: Server, tmp_path: Path) -> None:
    good = file_at(server, "good", name="a.gz")
    slow = file_at(server, "trickle")
    failing = file_at(server, "missing_later", name="b.gz")
    fetch(good, tmp_path)
    with pytest.raises(UserError, match=r"/missing_later/b\.gz: the server answers 404"):
        fetch_all([good, slow, failing], tmp_path)
    assert leftovers(tmp_path) == ["a.gz", "a.gz.verified", "train.en.gz.part"]
    part = (tmp_path / "toy/train.en.gz.part").read_bytes()
    assert part and CONTENT.startswith(part)
    mended = [dataclasses.replace(file, urls=good.urls) for file in (good, slow, failing)]
    assert all(path.read_bytes() == CONTENT for path in fetch_all(mended, tmp_path).values())
    assert sorted(asked or "" for _, asked in server.asked[3:]) == ["", f"bytes={len(part)}-"]


def test_a_failure_does_not_wait_for_other_processes(server: Server, tmp_path: Path) -> None:
    held = file_at(server, "good", name="held.gz")
    with locked(tmp_path / held.path), pytest.raises(UserError, match="404"):
        fetch_all([held, file_at(server, "missing")], tmp_path)


def test_an_interrupted_download_is_resumed(server: Server, tmp_path: Path) -> None:
    # A shell that starts the tests in the background has them ignore Ctrl-C.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            fetch(file_at(server, "interrupts"), tmp_path)
    finally:
        signal.signal(signal.SIGINT, before)
    assert leftovers(tmp_path) == ["train.en.gz.part"]
    have = (tmp_path / "toy/train.en.gz.part").stat().st_size
    assert fetch(file_at(server, "good"), tmp_path).read_bytes() == CONTENT
    assert have and server.asked[-1] == ("/good/train.en.gz", f"bytes={have}-")


def test_a_killed_download_is_resumed(server: Server, tmp_path: Path) -> None:
    process = multiprocessing.get_context("fork").Process(target=fetch, args=(file_at(server, "trickle"), tmp_path))
    process.start()
    part = tmp_path / "toy/train.en.gz.part"
    while process.is_alive() and not (part.exists() and part.stat().st_size):
        time.sleep(0.01)
    process.kill()
    process.join()
    have = part.stat().st_size
    assert fetch(file_at(server, "good"), tmp_path).read_bytes() == CONTENT
    assert have and server.asked[-1] == ("/good/train.en.gz", f"bytes={have}-")


def test_a_damaged_cached_copy_is_replaced(server: Server, tmp_path: Path) -> None:
    overwrite(fetch(file_at(server, "good"), tmp_path), b"x" * len(CONTENT))
    assert fetch(file_at(server, "good"), tmp_path).read_bytes() == CONTENT


def test_a_verified_copy_is_read_again_only_when_it_was_touched(server: Server, tmp_path: Path) -> None:
    file = file_at(server, "good")
    path = fetch(file, tmp_path)
    times = path.stat().st_atime_ns, path.stat().st_mtime_ns
    path.write_bytes(CONTENT[::-1])
    os.utime(path, ns=times)
    assert fetch(file, tmp_path).read_bytes() == CONTENT[::-1], "same size and time: taken as verified"
    (tmp_path / "toy/train.en.gz.verified").write_bytes(b"")
    assert fetch(file, tmp_path).read_bytes() == CONTENT
    with pytest.raises(UserError, match="has sha256 .*, not 000000"):
        fetch(dataclasses.replace(file, sha256="0" * 64), tmp_path)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A mirror folder with the file."""
    mirror = tmp_path / "mirror"
    (mirror / "toy").mkdir(parents=True)
    (mirror / "toy/train.en.gz").write_bytes(CONTENT)
    monkeypatch.setenv(MIRROR, str(mirror))
    return mirror


def test_mirror_folder_is_used_in_place(server: Server, tmp_path: Path, folder: Path) -> None:
    """What was verified is remembered in the cache; nothing is written in the mirror."""
    assert fetch(file_at(server, "good"), tmp_path / "cache") == folder / "toy/train.en.gz"
    assert leftovers(tmp_path / "cache") == ["train.en.gz.verified"]
    assert leftovers(folder) == ["train.en.gz"] and server.asked == []
    overwrite(folder / "toy/train.en.gz", CONTENT[::-1])
    with pytest.raises(UserError, match="mirror/toy/train.en.gz: has sha256"):
        fetch(file_at(server, "good"), tmp_path / "cache")


def test_mirror_folder_serves_where_nothing_can_be_remembered(server: Server, tmp_path: Path, folder: Path) -> None:
    (tmp_path / "cache").write_text("in the way")
    assert fetch(file_at(server, "good"), tmp_path / "cache") == folder / "toy/train.en.gz"


def test_verified_in_one_mirror_is_not_verified_in_another(
    server: Server, tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    verified = fetch(file_at(server, "good"), tmp_path / "cache")
    other = tmp_path / "other/toy/train.en.gz"
    other.parent.mkdir(parents=True)
    other.write_bytes(CONTENT[::-1])
    os.utime(other, ns=(0, verified.stat().st_mtime_ns))
    monkeypatch.setenv(MIRROR, str(tmp_path / "other"))
    with pytest.raises(UserError, match="other/toy/train.en.gz: has sha256"):
        fetch(file_at(server, "good"), tmp_path / "cache")


def test_mirror_folder_without_the_file_falls_back(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(MIRROR, str(tmp_path))
    assert fetch(file_at(server, "good"), tmp_path / "cache").read_bytes() == CONTENT


def test_mirror_that_is_none(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MIRROR, str(tmp_path / "nowhere"))
    with pytest.raises(UserError, match="nowhere, which is not a folder"):
        fetch(file_at(server, "good"), tmp_path / "cache")
    monkeypatch.setenv(MIRROR, f"file://{tmp_path}")
    with pytest.raises(UserError, match="http or https only"):
        fetch(file_at(server, "good"), tmp_path / "cache")


def test_mirror_address_first_then_the_public_one(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setenv(MIRROR, f"{address}/good/")
    assert fetch(file_at(server, "broken"), tmp_path / "one").read_bytes() == CONTENT
    monkeypatch.setenv(MIRROR, f"{address}/missing")
    assert fetch(file_at(server, "good"), tmp_path / "two").read_bytes() == CONTENT
    paths = [path for path, _ in server.asked]
    assert paths == ["/good/toy/train.en.gz", "/missing/toy/train.en.gz", "/good/train.en.gz"]


def test_room_is_checked_before_anything_is_asked_for(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two files of 10,240 bytes, of one of which there are 240 already; a third says nothing about its size."""
    leave_part(tmp_path, CONTENT[:240])
    files = [
        file_at(server, "good"),
        file_at(server, "good", name="b.gz"),
        file_at(server, "good", size=None, name="c"),
    ]
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**6, 0, 20_239))
    with pytest.raises(UserError, match=rf"^{tmp_path}: .*need 20,240 bytes and 20,239 are free"):
        fetch_all(files, tmp_path)
    assert server.asked == [] and leftovers(tmp_path) == ["train.en.gz.part"]
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**6, 0, 20_240))
    assert len(fetch_all(files, tmp_path)) == 3
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**6, 0, 0))
    assert len(fetch_all(files, tmp_path)) == 3, "nothing is missing any more"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full to stand for a full disk")
def test_no_disk_space(server: Server, tmp_path: Path) -> None:
    (tmp_path / "toy").mkdir()
    (tmp_path / "toy/train.en.gz.part").symlink_to("/dev/full")
    with pytest.raises(UserError, match=r"train\.en\.gz\.part: no disk space; free 10,240 bytes"):
        fetch(file_at(server, "good"), tmp_path)
    assert len(server.asked) == 1, "a full disk is not the server's fault"


def test_a_folder_that_cannot_be_made(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="file"):
        fetch(file_at(server, "good"), tmp_path / "file")


def test_two_processes_download_once(server: Server, tmp_path: Path) -> None:
    file = file_at(server, "good")
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=fetch, args=(file, tmp_path)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(30)
    assert [process.exitcode for process in processes] == [0] * 4
    assert len(server.asked) == 1
    assert leftovers(tmp_path) == WHOLE


def test_checksum_of_known_bytes(tmp_path: Path) -> None:
    """FIPS 180-2, appendix B.1, and a file of more than one block."""
    (tmp_path / "abc").write_bytes(b"abc")
    assert checksum(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    content = b"more than one block" * 100_000
    (tmp_path / "long").write_bytes(content)
    assert checksum(tmp_path / "long") == hashlib.sha256(content).hexdigest()
