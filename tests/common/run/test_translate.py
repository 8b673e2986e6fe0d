"""`translate`: the page of attention, and what is said when it is stopped."""

from __future__ import annotations

import base64
import html
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from signal import SIGINT, SIGTERM, raise_signal

import numpy as np
import pytest

from common.align.attention import source_attention
from common.paper import Paper
from common.run.cli import INTERRUPTED, TERMINATED, main
from papers.bahdanau2014.paper import PAPER as BAHDANAU
from papers.vaswani2017.paper import PAPER as VASWANI
from tests.common.run.test_export import SIZES, made_run
from tests.made_runs import LINES, drawn, write_run

Translate = Callable[..., tuple[int, str, str]]


@pytest.fixture
def translate(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Translate:
    """Call `translate` and return its status, output and last line of messages."""

    def call(paper: Paper, *words: object, stdin: bytes) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        status = main(paper, ["translate", *map(str, words)])
        told = capsys.readouterr()
        return status, told.out, told.err.strip().split("\n")[-1]

    return call


@pytest.mark.parametrize("paper", [BAHDANAU, VASWANI], ids=lambda paper: paper.name)
def test_a_page_shows_the_attention_of_ones_own_sentences(paper: Paper, translate: Translate, tmp_path: Path) -> None:
    run, page = made_run(paper, tmp_path), tmp_path / "page.html"
    lines = LINES[5:8]
    status, out, last = translate(paper, run, "--attention", page, stdin="\n".join(lines).encode())
    model = paper.load(run)
    assert status == 0 and out.splitlines() == model.translate(lines) and "the attention of 3 sentences" in last
    text = page.read_text()
    assert not re.search(r"(src|href)=|url\(|@import|https?://(?!www\.w3\.org)", text), "it needs no other file"
    (found,) = re.findall(r'<script type="application/json">(.*?)</script>', text)
    (shown,) = json.loads(found)
    loaded = model.run
    for line, one in zip(lines, shown["examples"], strict=True):
        assert one["line"] == line
        assert one["source"] == [*map(html.unescape, loaded.text.source_tokens(line)), "</s>"]
        ids = loaded.text.target_vocabulary.encode(one["target"][:-1])
        shape = one["maps"]["source"]["shape"]
        assert shape[2:] == [len(one["target"]), len(one["source"])]
        weights = np.frombuffer(base64.b64decode(one["maps"]["source"]["weights"]), "<u2").reshape(shape) / 10_000
        (alpha,) = source_attention(paper, loaded.model, [(loaded.text.encode_source(line), ids)])
        np.testing.assert_allclose(weights.mean((0, 1)), alpha, atol=1e-4)


def test_what_cannot_be_drawn_is_refused(translate: Translate, tmp_path: Path) -> None:
    run, page = made_run(BAHDANAU, tmp_path), tmp_path / "page.html"
    (tmp_path / "empty.txt").touch()

    def refused(run: Path, *words: object, stdin: bytes = b"house\n") -> str:
        status, out, last = translate(BAHDANAU, run, "--attention", page, *words, stdin=stdin)
        assert status == 2 and not out and not page.exists()
        return last

    assert "draws 1 to 50 sentences; choose some: head -n 50 FILE" in refused(run, stdin=b"house\n" * 51)
    assert "draws 1 to 50 sentences" in refused(run, stdin=b"")
    assert "leave --replace-unk out" in refused(run, "--replace-unk", tmp_path / "empty.txt")
    recipe = BAHDANAU.recipe("demo/rnnencdec-50", SIZES["bahdanau2014"].split()[1:])
    write_run(BAHDANAU, recipe, tmp_path / "encdec", drawn(BAHDANAU, recipe))
    assert "RNNencdec-50 has no attention; leave --attention out" in refused(tmp_path / "encdec")


def test_a_page_replaces_an_earlier_page_and_nothing_else(translate: Translate, tmp_path: Path) -> None:
    run, page = made_run(BAHDANAU, tmp_path), tmp_path / "page.html"
    page.write_text("<!doctype html><p>my notes</p>")
    status, out, last = translate(BAHDANAU, run, "--attention", page, stdin=b"house\n")
    assert (status, out) == (2, "") and f"{page}: is there and no page of attention" in last
    assert page.read_text() == "<!doctype html><p>my notes</p>"
    page.unlink()
    for sentences in (1, 2):
        assert translate(BAHDANAU, run, "--attention", page, stdin=b"house\n" * sentences)[0] == 0
    (found,) = re.findall(r'<script type="application/json">(.*?)</script>', page.read_text())
    assert len(json.loads(found)[0]["examples"]) == 2


def test_a_page_that_cannot_be_written_is_refused_before_any_work(translate: Translate, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    places = {tmp_path: "Is a directory", tmp_path / "file" / "page.html": "File exists",
              Path("/proc/page.html"): "No such file", tmp_path / ("a" * 300): "File name too long"}  # fmt: skip
    for page, reason in places.items():
        status, out, last = translate(BAHDANAU, tmp_path / "nosuch", "--attention", page, stdin=b"house\n")
        assert (status, out) == (2, "") and f"{page}: cannot be written ({reason}" in last and "choose" in last
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    ("number", "status", "word"), [(SIGINT, INTERRUPTED, "interrupted"), (SIGTERM, TERMINATED, "stopped")]
)
def test_a_stopped_translation_says_how_to_go_on(
    number: int, status: int, word: str, translate: Translate, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A signal comes while the third line is written. Two are written, and the message counts them."""
    run, written = made_run(VASWANI, tmp_path), []

    class Out(io.StringIO):
        def write(self, text: str) -> int:
            if len(written) == 2:
                raise_signal(number)
            written.append(text)
            return len(text)

    monkeypatch.setattr("sys.stdout", Out())
    found, _, last = translate(VASWANI, run, stdin="\n".join(LINES[:5]).encode())
    assert found == status and written == [f"{line}\n" for line in VASWANI.load(run).translate(LINES[:2])]
    assert last.endswith(f"{word}; 2 translations are written; for the rest give it `tail -n +3 FILE`")


def test_a_page_of_attention_names_the_words_that_were_not_read(translate: Translate, tmp_path: Path) -> None:
    run, page = made_run(BAHDANAU, tmp_path), tmp_path / "page.html"
    known = BAHDANAU.load(run).run.text.source_vocabulary.words[0]
    for line, told in ((f"{known} zyxw Qwx", "unknown word: zyxw, Qwx<"), (known, None)):
        assert translate(BAHDANAU, run, "--attention", page, stdin=line.encode())[0] == 0
        text = page.read_text(encoding="utf-8")
        assert told in text if told else "unknown word" not in text
