"""Test sets in SGML: what WMT's files hold, and faults told by file and line."""

from __future__ import annotations

import bz2
import gzip
import lzma
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.corpus.archives import open_member
from common.corpus.lines import read_lines, read_parallel
from common.corpus.sgml import check_same_segments, is_sgml, read_sgml
from common.errors import UserError
from common.files import utf8_lines

SETS = {
    "newstest2012": ("dev.tgz", "dev/newstest2012-{}.{}.sgm", "de en fr", 900),
    "newstest2013": ("dev.tgz", "dev/newstest2013-{}.{}.sgm", "de en fr", 1000),
    "newstest2014-deen": ("test-full.tgz", "test-full/newstest2014-deen-{}.{}.sgm", "de en", 1200),
    "newstest2014-fren": ("test-full.tgz", "test-full/newstest2014-fren-{}.{}.sgm", "fr en", 1200),
}
"""Archive, members, languages, segments by FIXTURE.md."""

REAL = """<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE mteval SYSTEM "ftp://jaguar.ncsl.nist.gov/mt/resources/mteval-xml-v1.3.dtd">
<refset trglang="de" setid="newstest2013" srclang="any">
<DOC sysid="ref" docid="a.com/1?x=1&lang=de" origlang="en">
<hl>
<seg id="1">AT&amp;T und AT&T, R&D, Q&A; &quot;a&lt;b&gt;&quot; &apos;&#228;&#xE4;&Auml;</seg>
</hl>
<p>
<SEG ID="2"> Eine Zeile
   und\tnoch eine \r
und « eine »  </SEG>
<seg id=3></seg><seg id="5">&copy=1&para; &foo; &ampx; a < b <3 <b>fett</b> <script>x\u2028y\x85z</seg>
</p>
</DOC>
<!-- <seg id="9">no</seg> -->
<doc docid='b'><seg id="1">&amp;lt; &#10; &#38;amp; &</seg>
</doc>
</refset>
"""

PIECES = ["<seg id='1'>", "</seg>", "<doc docid='a'>", "</doc>", "<seg", "<p>", "<!--", "-->", "<!DOCTYPE", "<?xml"]
PIECES += ["<![CDATA[", "<", ">", "&", "&#", "&#0;", "&#1114112;", "&lt;", ";", '"', "'", "=", " ", "\n", "\u2028é"]


def one(segment: str) -> str:
    return f'<srcset>\n<doc docid="d">\n<seg id="1">{segment}</seg>\n</doc>\n</srcset>\n'


@pytest.mark.parametrize("name", SETS)
def test_fixture_sets(mirror: Path, name: str) -> None:
    """The number of segments, the same documents on all sides, and the plain text where the archive has it."""
    archive, members, languages, count = SETS[name]
    sets = {}
    for kind in ("src", "ref"):
        for language in languages.split():
            with open_member(mirror / "wmt14-fixture" / archive, members.format(kind, language)) as stream:
                assert is_sgml(stream.head, "src")
                sets[kind, language] = read_sgml(stream.read().decode(), kind)
    for language in languages.split():
        source, reference = sets["src", languages[:2]], sets["ref", language]
        check_same_segments((source, reference))
        assert len(source.lines) == len(reference.lines) == count
        assert reference.lines == sets["src", language].lines
        if archive == "dev.tgz":
            with open_member(mirror / "wmt14-fixture" / archive, f"dev/{name}.{language}") as stream:
                assert reference.lines == utf8_lines(stream.read(), stream.name)


def test_text_as_real_sets_have_it() -> None:
    assert read_sgml(REAL, "set").lines == [
        'AT&T und AT&T, R&D, Q&A; "a<b>" \'ääÄ',
        "Eine Zeile und\tnoch eine und « eine »",
        "",
        "&copy=1¶ &foo; &ampx; a < b <3 <b>fett</b> <script>x\u2028y\x85z",
        "&lt; &amp; &",
    ]


def test_byte_order_mark_and_carriage_returns_do_not_matter(tmp_path: Path) -> None:
    (tmp_path / "set").write_bytes(("\ufeff" + one("a\nb")).replace("\n", "\r\n").encode())
    assert read_lines(tmp_path / "set") == ["a b"]


def test_numbers_that_are_no_characters() -> None:
    long = f"&#{'9' * 5000};"
    assert read_sgml(one(f"a{long}&#1114112;&#0;"), "set").lines == [f"a{long}\ufffd\ufffd"]


@given(st.text(st.characters(codec="utf-8", exclude_characters="\r\n")).map(lambda text: text.strip(" \t")))
def test_escaped_text_comes_back(text: str) -> None:
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")
    assert read_sgml(one(escaped), "set").lines == [text]


@given(st.lists(st.sampled_from(PIECES), max_size=30).map("".join), st.booleans())
def test_any_text_gives_segments_or_one_line(text: str, in_a_segment: bool) -> None:
    try:
        segments = read_sgml(one(text) if in_a_segment else text, "set").lines
    except UserError as error:
        assert str(error).startswith("set") and "\n" not in str(error)
    else:
        assert segments and not any("\n" in segment for segment in segments)


@pytest.mark.parametrize(
    "text, says",
    [
        ("", "^set has no segments; name a WMT set"),
        ("ein Satz\nnoch einer\n", "^set has no segments"),
        (one("a</seg>\n<seg id='1'>b"), "set, line 4: segment '1' follows segment 1 of document 'd'"),
        (one("a</seg>\n<seg id='x'>b"), "line 4: segment 'x' follows segment 1"),
        (one("a</seg>\n<seg>b"), "line 4: segment '' follows segment 1"),
        (one("a\n<seg id='2'>b"), "line 4: segment 1 of document 'd' is not closed; get the set as it was published"),
        (one("a<p>b"), "line 3: segment 1 of document 'd' is not closed"),
        (one("a").replace("</seg>", ""), "line 4: segment 1 of document 'd' is not closed"),
        (one("a")[: one("a").index("</seg>")], "line 3: segment 1 of document 'd' is not closed"),
        (one("a")[: one("a").index("</doc>")], "line 3: document 'd' is not closed"),
        (one("a").replace("</doc>", "<doc docid='e'>"), "line 4: document 'd' is not closed"),
        ("<doc><seg id='1'>a</seg></doc>", "line 1: a document has no docid"),
        ("<srcset>\n<seg id='1'>a</seg>", "line 2: a segment is outside any document"),
        (one("a</seg></seg>"), "line 3: a segment ends that never began"),
    ],
)
def test_faults_are_told_by_file_and_line(text: str, says: str) -> None:
    with pytest.raises(UserError, match=says) as caught:
        read_sgml(text.removesuffix("\n"), "set")
    assert "\n" not in str(caught.value)


def test_not_utf8(tmp_path: Path) -> None:
    (tmp_path / "set").write_bytes(one("\xe9").encode("latin-1"))
    with pytest.raises(UserError, match="set, line 3: not UTF-8"):
        read_lines(tmp_path / "set")


def test_sides_that_do_not_agree() -> None:
    def check(source: str, reference: str) -> None:
        check_same_segments((read_sgml(source, "src"), read_sgml(reference, "ref")))

    source, longer = one("a"), one("a</seg><seg id='2'>b")
    check(source, one("A"))
    with pytest.raises(
        UserError,
        match="^src has 1 segments but ref has 2, and where one has nothing the other has segment 2 of document 'd';",
    ):
        check(source, longer)
    with pytest.raises(UserError, match="segment 2 of document 'd' the other has segment 3 of document 'd'; take both"):
        check(longer, longer.replace("'2'", "'3'"))
    with pytest.raises(UserError, match="segment 1 of document 'd' the other has segment 1 of document 'e'"):
        check(source, source.replace('"d"', '"e"'))


DOCTYPE = '<!DOCTYPE mteval SYSTEM "ftp://jaguar.ncsl.nist.gov/mt/resources/mteval-xml-v1.3.dtd">'


@pytest.mark.parametrize("tag", ["srcset", "refset", "tstset", "mteval", "SRCSET"])
@pytest.mark.parametrize("before", ["", " \r\n", '<?xml version="1.0"?>\n', f"{DOCTYPE}\n", "<!-- a --><!-- <b> -->"])
def test_a_set_is_known_by_its_beginning(tag: str, before: str) -> None:
    assert is_sgml(f"{before}<{tag} setid='x'>\n<doc".encode(), "text.en")


@pytest.mark.parametrize("name", ["a.sgm", "a.sgml", "a.SGM", "a.sgm.gz", "a.SGML.XZ", "a.tgz:dev/a.sgm.bz2"])
def test_a_set_is_known_by_its_name(name: str) -> None:
    assert is_sgml(b"", name)


@pytest.mark.parametrize("text", ["", "<", "srcset", "a <srcset>", "<srcsets>", "<doc>", "<!-- " * 2000, " " * 99_999])
def test_text_is_no_set(text: str) -> None:
    assert not is_sgml(text.encode(), "sgm.en")


@pytest.mark.parametrize("name", ["ref.sgm", "ref.sgml", "ref.SGM", "ref", "ref.txt"])
@pytest.mark.parametrize("pack", [bytes, gzip.compress, lzma.compress, bz2.compress])
def test_a_set_is_read_as_one_whatever_its_name(tmp_path: Path, name: str, pack: Callable[[bytes], bytes]) -> None:
    (tmp_path / name).write_bytes(pack(REAL.encode()))
    assert read_lines(tmp_path / name) == read_sgml(REAL, "set").lines


def test_sets_that_belong_together_agree_by_document_and_number(tmp_path: Path) -> None:
    other = one("A").replace('"d"', '"e"')
    for name, text in {"one.sgm": one("a"), "same": one("A"), "text": "a\n", "other": other}.items():
        (tmp_path / name).write_text(text)
    paths = [tmp_path / name for name in ("text", "one.sgm", "same", "other")]
    assert read_parallel(*paths[:3]) == [["a"], ["a"], ["A"]]
    with pytest.raises(UserError, match="one.sgm has 1 segments but .*other has 1, and where one has segment 1 of"):
        read_parallel(*paths)
