"""Members of archives as streams: the fixture with WMT14's names, and archives that are broken or mean harm."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import re
import tarfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.corpus.archives import open_member
from common.errors import UserError
from common.files import utf8_lines

TEXT = "".join(f"Satz {i}, der noch länger ist\n" for i in range(20_000)).encode()
"""More than one block is long; compressed it is short."""

LINES = {
    ("training-parallel-europarl-v7.tgz", "training/europarl-v7.de-en", "de en"): 3021,
    ("training-parallel-europarl-v7.tgz", "training/europarl-v7.fr-en", "fr en"): 3021,
    ("training-parallel-commoncrawl.tgz", "commoncrawl.de-en", "de en"): 2521,
    ("training-parallel-commoncrawl.tgz", "commoncrawl.fr-en", "fr en"): 2521,
    ("training-parallel-un.tgz", "un/undoc.2000.fr-en", "fr en"): 2521,
    ("training-parallel-nc-v9.tgz", "training/news-commentary-v9.de-en", "de en"): 2021,
    ("training-parallel-nc-v9.tgz", "training/news-commentary-v9.fr-en", "fr en"): 2021,
    ("training-parallel-nc-v11.tgz", "training-parallel-nc-v11/news-commentary-v11.de-en", "de en"): 2821,
    ("training-giga-fren.tar", "giga-fren.release2.fixed", "fr.gz en.gz"): 4021,
    ("dev.tgz", "dev/newstest2012", "de en fr"): 900,
    ("dev.tgz", "dev/newstest2013", "de en fr"): 1000,
}
"""Archive, member, endings: lines by FIXTURE.md."""

DIRT = {
    # U+2028, NEL, control characters (VT and FS among them), CR before LF, lone CR; 1-based, of FIXTURE.md.
    "training/europarl-v7.de-en": (751, 891, 1031, 1171, 1311),
    "training/europarl-v7.fr-en": (751, 891, 1031, 1171, 1311),
    "commoncrawl.de-en": (631, 747, 863, 979, 1095),
    "commoncrawl.fr-en": (631, 747, 863, 979, 1095),
    "un/undoc.2000.fr-en": (631, 747, 863, 979, 1095),
    "training/news-commentary-v9.de-en": (511, 603, 695, 787, 879),
    "training/news-commentary-v9.fr-en": (511, 603, 695, 787, 879),
    "training-parallel-nc-v11/news-commentary-v11.de-en": (511, 603, 695, 787, 879),
    "giga-fren.release2.fixed": (986, 1173, 1360, 1547, 1734),
}


def read(path: Path, member: str | None) -> bytes:
    with open_member(path, member) as stream:
        return stream.read()


def fault(path: Path, member: str | None) -> str:
    with pytest.raises(UserError) as caught:
        read(path, member)
    message = str(caught.value)
    assert "\n" not in message and str(path) in message and (member or "") in message
    return message


def write(path: Path, *members: tarfile.TarInfo, mode: str = "w:gz") -> Path:
    """An archive of text.de and text.de.gz after what else is wanted."""
    contents = {"text.de": TEXT, "text.de.gz": gzip.compress(TEXT)}
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for member in members:
            archive.addfile(member, io.BytesIO(b"x" * member.size))
        for name, content in contents.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


@pytest.mark.parametrize("archive, member, endings", LINES, ids=lambda word: word.split("/")[-1])
def test_fixture_has_the_lines_it_lists(mirror: Path, archive: str, member: str, endings: str) -> None:
    sides = {}
    for ending in endings.split():
        content = read(mirror / "wmt14-fixture" / archive, f"{member}.{ending}")
        sides[ending] = content.split(b"\n")[:-1]
        assert content.endswith(b"\n") and utf8_lines(content, member) == [
            line.decode().removesuffix("\r") for line in sides[ending]
        ]
    assert {len(side) for side in sides.values()} == {LINES[archive, member, endings]}
    for signs, number in zip(("\u2028", "\x85", "\x0b\x1c", "\r", "\r"), DIRT.get(member, ()), strict=False):
        found = [sign for sign in signs if any(sign in side[number - 1].decode() for side in sides.values())]
        assert found == list(signs), f"line {number}"


@pytest.mark.parametrize("name, mode", [("a.tgz", "w:gz"), ("a.tar.gz", "w:gz"), ("a.tar", "w"), ("a.tar.xz", "w:xz")])
def test_members_of_every_kind_of_archive(tmp_path: Path, name: str, mode: str) -> None:
    path = write(tmp_path / name, mode=mode)
    assert read(path, "text.de") == read(path, "text.de.gz") == TEXT
    with open_member(path, "text.de") as stream:
        assert stream.name == f"{path}:text.de"
        pieces = list(iter(lambda: stream.read(70_001), b""))
    assert b"".join(pieces) == TEXT and {len(piece) for piece in pieces[:-1]} == {70_001}
    assert [entry.name for entry in tmp_path.iterdir()] == [name]


def test_files_that_are_no_archives(tmp_path: Path) -> None:
    for name, content in {"a": TEXT, "a.gz": gzip.compress(TEXT), "a.xz": lzma.compress(TEXT)}.items():
        (tmp_path / name).write_bytes(content)
        assert read(tmp_path / name, None) == TEXT


@pytest.mark.parametrize("pack", [gzip.compress, lzma.compress, bz2.compress])
@pytest.mark.parametrize("name", ["a", "a.en", "a.GZ", "a.gz", "a.xz", "a.bz2", "a.tgz:x"])
def test_compression_is_told_by_content(tmp_path: Path, name: str, pack: Callable[[bytes], bytes]) -> None:
    (tmp_path / name).write_bytes(pack(TEXT))
    assert read(tmp_path / name, None) == TEXT
    member = tarfile.TarInfo("x")
    member.size = len(pack(TEXT))
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        archive.addfile(member, io.BytesIO(pack(TEXT)))
    assert read(tmp_path / "a.tar", "x") == TEXT


@pytest.mark.parametrize(
    "name, mode", [("a.tar", "w:gz"), ("a", "w:gz"), ("a", "w"), ("a.TGZ", "w:gz"), ("a.tbz2", "w:bz2")]
)
def test_archives_are_told_by_content(tmp_path: Path, name: str, mode: str) -> None:
    assert read(write(tmp_path / name, mode=mode), "text.de.gz") == TEXT


def test_what_begins_as_if_compressed_and_is_text(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"BZh9 is how bzip2 begins\nPK\n")
    assert read(tmp_path / "a", None) == b"BZh9 is how bzip2 begins\nPK\n"


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_an_archive_is_no_text(tmp_path: Path, mode: str) -> None:
    assert fault(write(tmp_path / "a", mode=mode), None).endswith(
        "is an archive; name one of its members, after a space"
    )


@pytest.mark.parametrize("content, cure", [(b"PK\x03\x04\x14", "unpack it"), (b"\x28\xb5\x2f\xfd\x24", "zstd -d")])
def test_what_cannot_be_read_is_named(tmp_path: Path, content: bytes, cure: str) -> None:
    (tmp_path / "a").write_bytes(content)
    assert cure in fault(tmp_path / "a", None)


def test_several_gzip_streams_in_a_row_are_one_file(tmp_path: Path) -> None:
    (tmp_path / "a.gz").write_bytes(gzip.compress(TEXT[:999]) + gzip.compress(TEXT[999:]))
    assert read(tmp_path / "a.gz", None) == TEXT


@pytest.mark.parametrize("name, mode", [("a.tgz", "w:gz"), ("a.tar", "w")])
def test_memory_stays_small(tmp_path: Path, name: str, mode: str) -> None:
    """40 MB to pass over, 40 MB to read."""
    before, wanted = tarfile.TarInfo("before"), tarfile.TarInfo("wanted")
    before.size = wanted.size = 40_000_000
    path = write(tmp_path / name, before, wanted, mode=mode)
    tracemalloc.start()
    try:
        with open_member(path, "wanted") as stream:
            total = sum(len(block) for block in iter(lambda: stream.read(1 << 20), b""))
        assert total == wanted.size and tracemalloc.get_traced_memory()[1] < 16_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE])
@pytest.mark.parametrize("mode", ["w:gz", "w"])
def test_links_and_devices_are_refused(tmp_path: Path, kind: bytes, mode: str) -> None:
    """The secret lies where the link points, inside the archive and outside."""
    (tmp_path / "secret").write_text("secret")
    path = tmp_path / ("a.tgz" if mode == "w:gz" else "a.tar")
    for target in ("text.de", str(tmp_path / "secret")):
        write(path, special("wanted", kind, target), mode=mode)
        assert "wanted is a link, folder or device, not a file; get the archive as published" in fault(path, "wanted")


def test_names_that_lead_elsewhere_lead_nowhere(tmp_path: Path) -> None:
    folder = tmp_path / "inner"
    folder.mkdir()
    evil = [tarfile.TarInfo(name) for name in ("../evil", "/tmp/evil-of-test-archives", "a/../../evil", "line\nbreak")]
    for member in evil:
        member.size = 4
    path = write(folder / "a.tgz", *evil, special("folder", tarfile.SYMTYPE, ".."))
    assert read(path, "text.de") == TEXT
    for name in ("evil", "a/evil", "tmp/evil-of-test-archives", "folder/evil"):
        assert f"has no member {name}; among its 7 there is" in fault(path, name)
    assert [entry.name for entry in tmp_path.rglob("*")] == ["inner", "a.tgz"]
    assert not Path("/tmp/evil-of-test-archives").exists()


def test_dot_and_slash_before_a_name_do_not_matter(tmp_path: Path) -> None:
    member = tarfile.TarInfo("./train/x.en")
    member.size = 3
    assert read(write(tmp_path / "a.tgz", member), "train/x.en") == b"xxx"


def test_unknown_members_bring_similar_names(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tgz")
    says = "a.tgz has no member {}; among its 2 there is {}; correct the name"
    assert fault(path, "tex.de").endswith(says.format("tex.de", "'text.de', 'text.de.gz'"))
    assert fault(path, "x.de.gz").endswith(says.format("x.de.gz", "'text.de.gz'"))
    assert fault(path, "Zzz").endswith(says.format("Zzz", "'text.de', 'text.de.gz'"))
    with tarfile.open(tmp_path / "none.tar", "w"):
        pass
    assert "among its 0 there is nothing" in fault(tmp_path / "none.tar", "text.de")


@pytest.mark.parametrize("name, mode", [("a.tgz", "w:gz"), ("a.tar", "w"), ("a.tar.xz", "w:xz")])
@pytest.mark.parametrize("member", ["text.de", "text.de.gz"])
def test_truncated_archives(tmp_path: Path, name: str, mode: str, member: str) -> None:
    """Cut anywhere before the member's end, between two members included."""
    whole = write(tmp_path / name, mode=mode).read_bytes()
    path = tmp_path / f"cut-{name}"
    cuts = (
        [0, 1, 300, 512, len(whole) // 3] if member == "text.de" or name != "a.tar" else [512 * (2 + len(TEXT) // 512)]
    )
    for cut in cuts:
        path.write_bytes(whole[:cut])
        assert re.search(r"not whole, or not what the file name says \(.+\); copy it again$", fault(path, member)), cut


@pytest.mark.parametrize("damage", ["short", "altered", "no deflate", "no gzip"])
def test_damaged_gzip_inside_a_good_archive(tmp_path: Path, damage: str) -> None:
    content = bytearray(gzip.compress(TEXT))
    if damage == "short":
        del content[-100:]
    elif damage == "altered":
        content[len(content) // 2] ^= 0xFF
    elif damage == "no deflate":
        content[10] = 0xFF
    else:
        content[:2] = b"<h"
    member = tarfile.TarInfo("x.gz")
    member.size = len(content)
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as archive:
        archive.addfile(member, io.BytesIO(content))
    assert "a.tar:x.gz: not whole" in fault(path, "x.gz")


@pytest.mark.parametrize("name", ["a.tgz", "a.tar", "a.tar.xz", "a.gz", "a.xz"])
@pytest.mark.parametrize("content", [b"<html>sorry</html>", b"\x1f\x8b", bytes(1 << 11) + b"x"])
def test_no_archive_at_all(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    if content[0] or name != "a.tar":
        assert "not whole, or not what the file name says" in fault(tmp_path / name, "x" if "t" in name else None)
    else:
        assert "there is nothing" in fault(tmp_path / name, "x")


def test_missing_and_unreadable_files(tmp_path: Path) -> None:
    assert "No such file or directory; check the path" in fault(tmp_path / "a.tgz", "x")
    assert "No such file or directory; check the path" in fault(tmp_path / "a", None)
    assert "Is a directory; check the path" in fault(tmp_path, None)


def test_errors_of_the_reader_of_a_stream_stay_as_they_are(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="disk full"), open_member(write(tmp_path / "a.tgz"), "text.de"):
        raise OSError(28, "disk full")


@settings(max_examples=150)
@given(st.lists(st.tuples(st.integers(0, 3071), st.integers(0, 255)), min_size=1, max_size=4), st.booleans())
def test_altered_headers_give_one_line_or_the_text(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[int, int]], compressed: bool
) -> None:
    """Two members, one with a name that needs two headers; any bytes of them altered."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name in ("long/" * 25, "text"):
            member = tarfile.TarInfo(f"{name}.de")
            member.size = 100
            archive.addfile(member, io.BytesIO(b"y" * 100))
    content = bytearray(buffer.getvalue())
    for position, value in changes:
        content[position] = value
    path = tmp_path_factory.mktemp("altered") / ("a.tgz" if compressed else "a.tar")
    path.write_bytes(gzip.compress(content) if compressed else content)
    try:
        read(path, "text.de")
    except UserError as error:
        assert "\n" not in str(error)
