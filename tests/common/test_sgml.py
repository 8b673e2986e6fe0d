"""Test sets in SGML: what WMT's files hold, and faults told by file and line."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.data.archives import open_member
from common.data.sgml import read_sgml, read_sgml_pair
from common.errors import UserError
from common.lines import decode

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
                sets[kind, language] = stream.read()
    for language in languages.split():
        source, reference = read_sgml_pair(sets["src", languages[:2]], sets["ref", language], ("src", "ref"))
        assert len(source) == len(reference) == count
        assert reference == read_sgml(sets["src", language], "src")
        if archive == "dev.tgz":
            with open_member(mirror / "wmt14-fixture" / archive, f"dev/{name}.{language}") as stream:
                assert reference == decode(stream.read(), stream.name)


def test_text_as_real_sets_have_it() -> None:
    assert read_sgml(REAL.encode(), "set") == [
        'AT&T und AT&T, R&D, Q&A; "a<b>" \'ääÄ',
        "Eine Zeile und\tnoch eine und « eine »",
        "",
        "&copy=1¶ &foo; &ampx; a < b <3 <b>fett</b> <script>x\u2028y\x85z",
        "&lt; &amp; &",
    ]


def test_byte_order_mark_and_carriage_returns_do_not_matter() -> None:
    assert read_sgml(("\ufeff" + one("a\nb")).replace("\n", "\r\n").encode(), "set") == ["a b"]


def test_numbers_that_are_no_characters() -> None:
    long = f"&#{'9' * 5000};"
    assert read_sgml(one(f"a{long}&#1114112;&#0;").encode(), "set") == [f"a{long}\ufffd\ufffd"]


@given(st.text(st.characters(codec="utf-8", exclude_characters="\r\n")).map(lambda text: text.strip(" \t")))
def test_escaped_text_comes_back(text: str) -> None:
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")
    assert read_sgml(one(escaped).encode(), "set") == [text]


@given(st.lists(st.sampled_from(PIECES), max_size=30).map("".join), st.booleans())
def test_any_text_gives_segments_or_one_line(text: str, in_a_segment: bool) -> None:
    try:
        segments = read_sgml((one(text) if in_a_segment else text).encode(), "set")
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
        read_sgml(text.encode(), "set")
    assert "\n" not in str(caught.value)


def test_not_utf8() -> None:
    with pytest.raises(UserError, match="set, line 3: not UTF-8"):
        read_sgml(one("\xe9").encode("latin-1"), "set")


def test_sides_that_do_not_agree() -> None:
    source, longer = one("a"), one("a</seg><seg id='2'>b")
    assert read_sgml_pair(source.encode(), one("A").encode(), ("src", "ref")) == (["a"], ["A"])
    with pytest.raises(
        UserError,
        match="^src has 1 segments but ref has 2, and where one has nothing the other has segment 2 of document 'd';",
    ):
        read_sgml_pair(source.encode(), longer.encode(), ("src", "ref"))
    with pytest.raises(UserError, match="segment 2 of document 'd' the other has segment 3 of document 'd'; take both"):
        read_sgml_pair(longer.encode(), longer.replace("'2'", "'3'").encode(), ("src", "ref"))
    with pytest.raises(UserError, match="segment 1 of document 'd' the other has segment 1 of document 'e'"):
        read_sgml_pair(source.encode(), source.replace('"d"', '"e"').encode(), ("src", "ref"))
