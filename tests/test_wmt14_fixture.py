"""WMT14's preparations from end to end on an imitation of its archives, over HTTP from a server that misbehaves.

The text is software documentation with the dirt of real corpora at known lines (FIXTURE.md beside the archives). What
must come out is computed here independently: archives unpacked by tarfile, lines split by bytes, Moses tokens by the
tokeniser, and the cleaning rules written out.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gzip
import io
import json
import multiprocessing
import os
import re
import signal
import socket
import struct
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from common.corpus import fetch
from common.paper import Paper
from common.prepare import preparation as prepare_module
from common.prepare.prepared import Prepared
from common.recipe import Recipe, override
from common.run.folder import prepare_data
from common.text.moses import Tokeniser
from common.train.loop import Trainer, TrainingText
from papers.bahdanau2014.paper import PAPER as BAHDANAU
from papers.vaswani2017.paper import PAPER as VASWANI
from tests.conftest import ROOT
from tests.made_results import cells

CORPUS = f"data.corpus={ROOT / 'tests/fixtures/wmt14-fixture.yaml'}"
SHARD = 700
"""Pairs a shard, so that every part has several."""
RNNSEARCH = [
    CORPUS,
    "data.parts=[europarl-v7, news-commentary-v9, commoncrawl, giga-fren, undoc-2000]",
    "data.shares=[0.45, 1, 1, 0.30, 0.34]",
    "data.in_domain=[news-commentary-v9]",
]
"""The fixture has no test sets of 2008 to 2011."""


class Faulty(BaseHTTPRequestHandler):
    """Serves the mirror: each file's first answer breaks off with a reset, its second is an error, then all is well."""

    def do_GET(self) -> None:
        """One answer."""
        path = Path(self.server.mirror) / self.path.lstrip("/")  # type: ignore[attr-defined]
        asked = self.server.asked  # type: ignore[attr-defined]
        asked.append((self.path, self.headers.get("Range")))
        turn = [name for name, _ in asked].count(self.path)
        if not path.is_file():
            self.send_error(404)
        elif turn == 2:
            self.send_error(503)
        else:
            self._send(path.read_bytes(), broken=turn == 1)

    def _send(self, content: bytes, broken: bool) -> None:
        wanted = self.headers.get("Range")
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0
        self.send_response(206 if wanted else 200)
        self.send_header("Content-Type", "application/x-gzip")
        self.send_header("Content-Length", str(len(content) - start))
        if wanted:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        if not broken:
            self.wfile.write(content[start:])
            return
        self.wfile.write(content[: len(content) // 3])
        self.wfile.flush()
        time.sleep(0.05)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture(scope="module")
def served(mirror: Path) -> Iterator[ThreadingHTTPServer]:
    """The faulty server, asked before any public address; nothing waits long between attempts."""
    if not (mirror / "wmt14-fixture").is_dir():
        pytest.skip("PAPERS_MIRROR has no wmt14-fixture")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Faulty)
    server.mirror, server.asked = mirror, []  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(fetch.MIRROR, f"http://127.0.0.1:{server.server_port}")
        patch.setattr(fetch, "DELAYS", (0.01,) * 4)
        patch.setattr(prepare_module, "SHARD", SHARD)
        yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("wmt14")


@pytest.fixture(scope="module")
def ende(served: ThreadingHTTPServer, runs: Path) -> Prepared:
    """The Transformer's English-German, as its authors had it."""
    return prepare_data(VASWANI.recipe("base", [CORPUS]), runs, 2)


def raw_pairs(mirror: Path, archive: str, members: tuple[str, str]) -> list[tuple[str, str]]:
    """Both members' lines, by bytes."""
    sides = []
    with tarfile.open(mirror / "wmt14-fixture" / archive) as tar:
        for member in members:
            content = tar.extractfile(member).read()  # type: ignore[union-attr]
            content = gzip.GzipFile(fileobj=io.BytesIO(content)).read() if member.endswith(".gz") else content
            sides.append([line.decode() for line in content.removesuffix(b"\n").split(b"\n")])
    return list(zip(*sides, strict=True))


ENDE = (
    ("training-parallel-europarl-v7.tgz", "training/europarl-v7.de-en"),
    ("training-parallel-commoncrawl.tgz", "commoncrawl.de-en"),
    ("training-parallel-nc-v11.tgz", "training-parallel-nc-v11/news-commentary-v11.de-en"),
)


def expected_tokens(mirror: Path) -> tuple[list[tuple[list[str], list[str]]], dict[str, int]]:
    """Token lists of the pairs that Moses clean-corpus-n 1..80 with its ratio of 9 keeps; and what it drops."""
    english, german = Tokeniser("en", False, "moses-2016"), Tokeniser("de", False, "moses-2016")
    kept, dropped = [], {"empty": 0, "too_long": 0, "ratio": 0}
    for archive, stem in ENDE:
        for source, target in raw_pairs(mirror, archive, (f"{stem}.en", f"{stem}.de")):
            a, b = english.tokenise(source).split(), german.tokenise(target).split()
            if not a or not b:
                dropped["empty"] += 1
            elif len(a) > 80 or len(b) > 80:
                dropped["too_long"] += 1
            elif len(a) / len(b) > 9 or len(b) / len(a) > 9:
                dropped["ratio"] += 1
            else:
                kept.append((a, b))
    return kept, dropped


def decoded(prepared: Prepared) -> list[tuple[list[str], list[str]]]:
    """Every training pair as tokens, from its ids."""
    text = prepared.text
    join = text.segmenter.join if text.segmenter else list
    vocabularies = (text.source_vocabulary, text.target_vocabulary)
    pairs = (prepared.train[index] for index in range(len(prepared.train)))
    return [tuple(join(v.decode(side)) for v, side in zip(vocabularies, pair, strict=True)) for pair in pairs]  # type: ignore[misc]


def test_broken_downloads_went_on_where_they_broke(served: ThreadingHTTPServer, ende: Prepared, mirror: Path) -> None:
    asked = served.asked  # type: ignore[attr-defined]
    for name in {path for path, _ in asked}:
        size = (mirror / name.lstrip("/")).stat().st_size
        ranges = [wanted for path, wanted in asked if path == name]
        assert ranges == [None, f"bytes={size // 3}-", f"bytes={size // 3}-"]
    assert len({path for path, _ in asked}) == 5


def test_every_pair_of_english_german_is_what_the_rules_say(ende: Prepared, mirror: Path) -> None:
    """Also that no stray line break has put the sides out of step, and that every type has an id."""
    expected, dropped = expected_tokens(mirror)
    # max_length of the recipe counts sub-words and is applied when the pairs are opened.
    everything = Prepared.open(ende.directory, None)
    assert decoded(everything) == expected
    counts = ende.manifest.counts.train
    assert {reason: counts.dropped[reason] for reason in dropped} == dropped and dropped["empty"] == 3 * 4
    assert min(dropped.values()) >= 3
    assert counts.source.unk_rate == counts.target.unk_rate == 0
    assert [part["read"] for part in counts.parts.values()] == [3021, 2521, 2821]
    assert ende.train.source.shards[0].dtype == np.uint16 and len(ende.train.source.shards) == 5 + 4 + 5


def test_sets_come_from_sgml(ende: Prepared, mirror: Path) -> None:
    assert {name: counts.pairs for name, counts in ende.manifest.counts.held_out.items()} == {
        "valid": 1000,
        "newstest2012": 900,
        "newstest2013": 1000,
        "newstest2014": 1200,
    }
    plain = raw_pairs(mirror, "dev.tgz", ("dev/newstest2013.en", "dev/newstest2013.de"))
    lines = ende.lines("valid")
    assert [" ".join(line.split()) for line in lines["source"]] == [" ".join(pair[0].split()) for pair in plain]
    assert [" ".join(line.split()) for line in lines["reference"]] == [" ".join(pair[1].split()) for pair in plain]


def test_manifest_and_summary(ende: Prepared) -> None:
    manifest = ende.manifest
    assert [step.step for step in manifest.steps] == (
        ["download", "tokenise", "select", "count", "learn", "segment", "encode", "held out"]
    )
    assert all(step.seconds >= 0 and step.peak_memory_bytes > 1 << 20 for step in manifest.steps)
    assert manifest.tools["sacremoses"] and len(manifest.inputs) == 5
    page = (ende.directory / "summary.md").read_text()
    assert cells(page, "## Training pairs")[0]["read"] == "3,021" and "so none is unknown" in page
    assert (ende.directory / "lengths.png").read_bytes().startswith(b"\x89PNG")


def sums(prepared: Prepared) -> dict[str, str]:
    return {name: file.sha256 for name, file in prepared.manifest.outputs.items()}


FEW_MERGES = [CORPUS, "text.bpe_merges=800"]
"""For preparations that are made again and again: learning 32,000 takes most of the time here."""


@pytest.fixture(scope="module")
def few_merges(served: ThreadingHTTPServer, runs: Path) -> Prepared:
    return prepare_data(VASWANI.recipe("base", FEW_MERGES), runs, 2)


def test_one_worker_makes_the_same_bytes(few_merges: Prepared, tmp_path: Path) -> None:
    alone = prepare_data(VASWANI.recipe("base", FEW_MERGES), tmp_path, 1)
    assert sums(alone) == sums(few_merges)


def test_killed_again_and_again_it_makes_the_same_bytes(few_merges: Prepared, tmp_path: Path) -> None:
    """kill -9 of the whole preparation whenever it has got a little further; what was finished is not made again."""
    recipe = VASWANI.recipe("base", FEW_MERGES)
    kills, finished = 0, 0
    stamps: dict[Path, int] = {}
    while not list(tmp_path.glob("data/*/manifest.json")):
        process = multiprocessing.get_context("fork").Process(target=prepare_data, args=(recipe, tmp_path, 2))
        process.start()
        target = finished + 25
        while process.is_alive() and finished < target:
            made = _finished_files(tmp_path)
            assert all(made[path] == stamp for path, stamp in stamps.items() if path in made), "made twice"
            stamps, finished = made, len(made)
            time.sleep(0.005)
        if process.is_alive():
            os.kill(process.pid or 0, signal.SIGKILL)
            kills += 1
        process.join()
    assert kills >= 2
    assert sums(prepare_data(recipe, tmp_path, 2)) == sums(few_merges)


def _finished_files(root: Path) -> dict[Path, int]:
    """When each file of a preparation under way was written; the preparation may end and remove them meanwhile."""
    made = {}
    for path in root.glob("data/*.work/*.npz"):
        with contextlib.suppress(FileNotFoundError):
            made[path] = path.stat().st_mtime_ns
    return {path: stamp for path, stamp in made.items() if not path.name.startswith(".")}


def test_wmt14_itself_has_the_older_news_commentary(
    served: ThreadingHTTPServer, runs: Path, few_merges: Prepared
) -> None:
    prepared = prepare_data(VASWANI.recipe("variants/base-wmt14", FEW_MERGES), runs, 2)
    assert [part["read"] for part in prepared.manifest.counts.train.parts.values()] == [3021, 2521, 2021]
    assert prepared.directory != few_merges.directory


def test_english_french_in_word_pieces(served: ThreadingHTTPServer, runs: Path) -> None:
    prepared = prepare_data(VASWANI.recipe("base-enfr", [CORPUS]), runs, 2)
    counts = prepared.manifest.counts.train
    assert [part["read"] for part in counts.parts.values()] == [3021, 2521, 2521, 2021, 4021]
    assert prepared.text.segmentation == "wordpieces" and counts.piece_types <= 32_000
    line = "The new parliament's 1,234 members (of 28 countries) don't agree."
    ids = prepared.text.encode_source(line)
    tokens = Tokeniser("en", False, "moses-2016").tokenise(line).split()
    assert prepared.text.segmenter.join(prepared.text.source_vocabulary.decode(ids)) == tokens  # type: ignore[union-attr]


def test_english_french_selected_and_cut_to_shortlists(served: ThreadingHTTPServer, runs: Path, lmplz: None) -> None:
    recipe = BAHDANAU.recipe("rnnsearch-50", RNNSEARCH)
    prepared = prepare_data(recipe, runs, 2)
    counts = prepared.manifest.counts.train
    for name, share in zip(recipe.data.parts, recipe.data.shares, strict=True):
        part = counts.parts[name]
        if share == 1:
            assert "selected" not in part
            continue
        assert part["selected"] == round(share * part["kept"]) and part["selected"] + part["unselected"] == part["kept"]
        scores, kept, lines = (
            np.load(prepared.directory / f"selection.{name}.{what}.npy") for what in ("scores", "kept", "lines")
        )
        assert len(scores) == part["kept"] == len(lines) and scores[kept].max() <= scores[~kept].min()
        assert (np.diff(lines) > 0).all() and lines[-1] <= part["read"]
    assert counts.pairs == sum(part.get("selected", part["kept"]) for part in counts.parts.values())
    assert counts.source.vocabulary_words <= 29_998
    assert prepared.manifest.counts.held_out["valid"].pairs == 900 + 1000


def one_step(paper: Paper, recipe: Recipe, run: Path, runs: Path) -> float:
    """The loss of one update of a full-size model; of the dev set four pairs must do."""
    prepared = prepare_data(recipe, runs)
    valid = dataclasses.replace(prepared.valid, rows=prepared.valid.rows[:4])
    recipe = override(recipe, paper.sections, ["train.steps=1", "run.log_every=1", "evaluate.average=1"])
    run.mkdir()
    model = paper.build_model(recipe)
    corpus = TrainingText(prepared.train, valid, "fixture")
    trainer = Trainer(model, paper.build_optimization(model, recipe), corpus, recipe, run)
    trainer.resume()
    trainer.fit(print)
    loss: float = json.loads((run / "log.jsonl").read_text().splitlines()[0])["loss"]
    return loss


@pytest.mark.parametrize(
    ("paper", "name", "words"),
    [(VASWANI, "base", [CORPUS, "batch.tokens=600"]), (BAHDANAU, "rnnsearch-50", RNNSEARCH)],
    ids=["base", "rnnsearch-50"],
)
def test_a_training_step_at_full_size(
    served: ThreadingHTTPServer, lmplz: None, runs: Path, tmp_path: Path, paper: Paper, name: str, words: list[str]
) -> None:
    """The first loss of an untrained model is near that of guessing: the logarithm of the vocabulary's size."""
    recipe = paper.recipe(name, words)
    loss = one_step(paper, recipe, tmp_path / "run", runs)
    assert loss == pytest.approx(np.log(recipe.text.vocabulary_size), rel=0.15)


def test_unequal_sides_tell_both_counts(served: ThreadingHTTPServer, tmp_path: Path, command: Callable) -> None:
    """A corpus of one's own is four paths; one line too few on one side is one line of error."""
    for name, text in {"t.en": "a b .\nc d .\ne\n", "t.fr": "x y .\nz .\n", "v.en": "a .\n", "v.fr": "x .\n"}.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "mine.yaml").write_text("title: mine\ntrain: {en: t.en, fr: t.fr}\nvalid: {en: v.en, fr: v.fr}\n")
    words = ["prepare", "demo/rnnsearch-50", f"data.corpus={tmp_path / 'mine.yaml'}", "evaluate.sets=[valid]"]
    done = command("papers.bahdanau2014", *words, "--runs", tmp_path / "runs", check=2)
    assert "t.en has 3 lines but t.fr has 2" in done.stderr and done.stderr.count("\n") == 1
    (tmp_path / "t.fr").write_text("x y .\nz .\nw\n")
    done = command("papers.bahdanau2014", *words, "--runs", tmp_path / "runs")
    folder = Path(done.stdout.strip())
    assert json.loads((folder / "manifest.json").read_text())["counts"]["train"]["pairs"] == 3
    assert re.search(r"\| train +\| +3 \|", done.stderr)
