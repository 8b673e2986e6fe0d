"""Bad inputs and faults, a row each: one line that names the place and the cure, and earlier work as it was.

Every row calls a verb of the command line on one small finished run and its corpus. Where a process is not at risk, it
is called in this one. A row says what is arranged, the words, and what the last line on standard error has; the exit
status is 2. What was there before, the arranged damage included, must be there unchanged afterwards.
"""

from __future__ import annotations

import hashlib
import io
import os
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
import torch
import yaml

from common.errors import Terminated, UserError, enough_memory
from common.paper import Paper
from common.run.cli import main
from common.run.folder import _trainer as build_trainer
from common.run.folder import prepare_data
from common.train.loop import Trainer, read_log
from common.train.parallel import ALONE
from common.train.state import load_state
from papers.bahdanau2014.paper import PAPER as BAHDANAU
from papers.vaswani2017.paper import PAPER as VASWANI
from tests.common.train.test_checkpoint import files_no_larger_than
from tests.conftest import ROOT
from tests.test_run_life import SIZES, declare

TINY_RNN = [
    "hidden=8",
    "embedding=8",
    "alignment=8",
    "maxout=4",
    "text.vocabulary_size=20",
    "batch.sentences=50",
    "train.steps=4",
    "log_every=2",
    "validate_every=4",
    "checkpoint_every=2",
    "state_every=1",
    "evaluate.average=1",
    "evaluate.sets=[test]",
]


@dataclass(frozen=True)
class Place:
    """A folder with a corpus, the prepared data and a finished, averaged, scored run."""

    root: Path

    @property
    def run(self) -> Path:
        return self.root / "run"

    @property
    def corpus(self) -> Path:
        return self.root / "corpus" / "toy.yaml"

    @property
    def train(self) -> str:
        """The words that made the run."""
        words = [*SIZES, f"data.corpus={self.corpus}"]
        return f"train demo/base-enfr {shlex.join(words)} --runs {self.root}"

    def write(self, name: str, content: str | bytes) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def change_corpus(self, **changes: object) -> None:
        """Change keys of the declaration."""
        self.write("corpus/toy.yaml", yaml.safe_dump({**yaml.safe_load(self.corpus.read_text()), **changes}))


@dataclass(frozen=True)
class Done:
    status: int
    out: str
    err: str

    @property
    def last(self) -> str:
        return self.err.strip().split("\n")[-1]


def call(words: str, paper: Paper = VASWANI, stdin: bytes | None = b"") -> Done:
    """Call a verb in this process, with its own standard streams."""
    streams = sys.stdin, sys.stdout, sys.stderr
    sys.stdin = None if stdin is None else io.TextIOWrapper(io.BytesIO(stdin))  # type: ignore[assignment]
    sys.stdout, sys.stderr = out, err = io.StringIO(), io.StringIO()
    try:
        status = main(paper, shlex.split(words))
    except SystemExit as end:  # argparse
        status = int(end.code or 0)
    finally:
        sys.stdin, sys.stdout, sys.stderr = streams
    return Done(status, out.getvalue(), err.getvalue())


def files(root: Path) -> dict[str, str]:
    """Return the hash of every file under `root`. Locks are not work."""
    paths = [path for path in root.rglob("*") if path.is_file() and path.suffix != ".lock"]
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of `Place` from which every row gets a copy."""
    place = Place(tmp_path_factory.mktemp("faults") / "place")
    place.root.mkdir()
    declare(place.root / "corpus")
    for words in (f"{place.train} --out {place.run}", f"average {place.run}", f"score {place.run} --runs {place.root}"):
        done = call(words)
        assert done.status == 0, done.err
    return place.root


@pytest.fixture
def place(finished: Path) -> Iterator[Place]:
    """A copy at the place of the original, so that paths in it hold. The original is put back afterwards."""
    kept = finished.with_name("kept")
    shutil.copytree(finished, kept, symlinks=True)
    yield Place(finished)
    shutil.rmtree(finished)
    kept.rename(finished)


@dataclass(frozen=True)
class Row:
    """A fault. `{run}`, `{root}`, `{corpus}` and `{train}` in words and message are those of the place."""

    name: str
    words: str
    says: tuple[str, ...]
    arrange: Callable[[Place], object] = lambda place: None
    stdin: bytes | None = b"the house\n"
    paper: Paper = VASWANI


def filled(text: str, place: Place) -> str:
    values = {"run": place.run, "root": place.root, "corpus": place.corpus, "train": place.train}
    for name, value in values.items():
        text = text.replace(f"{{{name}}}", str(value))
    return text


def recipe(text: str) -> Callable[[Place], Path]:
    """Write a recipe of one's own."""
    return lambda place: place.write("mine.yaml", text)


def text(name: str, content: str | bytes) -> Callable[[Place], Path]:
    """Put other text in the place of a file of the corpus, or beside it."""
    return lambda place: place.write(f"corpus/{name}", content)


def damaged(name: str, content: bytes | None = None) -> Callable[[Place], object]:
    """Give a file of the run other content, or cut it in half."""

    def arrange(place: Place) -> None:
        path = place.run / name
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2] if content is None else content)

    return arrange


def gone(name: str) -> Callable[[Place], object]:
    """Take a file or folder of the run away."""

    def arrange(place: Place) -> None:
        path = place.run / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    return arrange


def without_line(path: Path) -> None:
    """Take the last line of a text away."""
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))


def archive(member: str | None) -> Callable[[Place], object]:
    """Declare the training text in an archive. member: what it holds; None is no archive at all."""

    def arrange(place: Place) -> None:
        path = place.root / "corpus" / "all.tgz"
        if member is None:
            path.write_bytes(b"<html>not found</html>\n")
        else:
            with tarfile.open(path, "w:gz") as tar:
                tar.add(place.root / "corpus" / "train.en", member)
        place.change_corpus(train={"en": "all.tgz train.en", "fr": "all.tgz train.fr"})

    return arrange


def unlike(place: Place, name: str = "recipe.yaml", **changes: object) -> None:
    """Change a value in a section of the run's recipe."""
    path = place.run / name
    values = yaml.safe_load(path.read_text())
    for key, value in changes.items():
        section, _, field = key.partition("_")
        values[section][field] = value
    path.write_text(yaml.safe_dump(values))


LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{b}: &{b} [{', '.join([f'*{a}'] * 10)}]\n" for a, b in zip("abcdefghijk", "bcdefghijkl", strict=True)
)
NEW = "{train} --out {root}/new"
AGAIN = "{train} --out {run} train.steps=8"
MINE = "plan {root}/mine.yaml"
SGML = '<srcset setid="s" srclang="en"><doc docid="d"><seg id="1">a</seg>{}</doc></srcset>\n'

RECIPES = [
    Row("a folder for a recipe", "plan {root}", ("no recipe", "{root}", "one of base")),
    Row("a recipe without any line", MINE, ("mine.yaml", "empty"), recipe("# nothing\n")),
    Row("a recipe that is a picture", MINE, ("mine.yaml", "iconv"),
        lambda p: p.write("mine.yaml", b"\x89PNG\r\n\x1a\n\0")),
    Row("a date that no calendar has", MINE, ("mine.yaml", "month must be in 1..12", "correct the file"),
        recipe("extends: demo/base\ntitle: 2024-13-01\n")),
    Row("a number of 5,000 digits", MINE, ("mine.yaml", "not valid YAML", "correct"),
        recipe(f"extends: demo/base\nmodel: {{N: {'9' * 5000}}}\n")),
    Row("brackets without end", MINE, ("mine.yaml", "not valid YAML", "correct"), recipe("title: " + "[" * 20_000)),
    Row("an alias that grows a thousand millionfold", MINE, ("mine.yaml", "`extends`", "not text"),
        recipe(f"{LAUGHS}extends: *l\n")),
    Row("a tag that would run code", MINE, ("mine.yaml", "not valid YAML", "python/object"),
        recipe("extends: !!python/object/apply:os.system ['false']\n")),
    Row("a key with a line break", MINE, ("mine.yaml", r"`mo\ndel`"), recipe('extends: demo/base\n"mo\\ndel": 1\n')),
    Row("a section that is a number, overridden", f"{MINE} model.N=1", ("mine.yaml", "`model` must be a mapping"),
        recipe("extends: demo/base\nmodel: 5\n")),
    Row("a system that the paper lacks", MINE, ("mine.yaml", "`reproduces` is `nosuch`", "one of", "table3-A-h1"),
        recipe("extends: demo/base\nreproduces: nosuch\n")),
    Row("a recipe of the other paper", "plan rnnsearch-50", ("no recipe `rnnsearch-50`", "give a YAML file or one of")),
    Row("a recipe that extends its own folder", MINE, ("no recipe `.`", "give a YAML file"), recipe("extends: .\n")),
    Row("a corpus that is no declaration", f"{MINE}", ("mine.yaml", "a corpus has the keys title, train"),
        lambda p: p.write("mine.yaml", "extends: demo/base-enfr\ndata: {corpus: mine.yaml}\n")),
]  # fmt: skip
SIZE = "lower the sizes"
OVERRIDES = [
    Row("more tokens than exist", "plan base batch.tokens=100000000000000000", ("batch.tokens", "1,000,000,000")),
    Row("more words than any memory", "plan base vocabulary_size=100000000000000000", ("one update", "memory", SIZE)),
    Row("a size beyond 64 bits", "plan base d_ff=99999999999999999999", ("model.d_ff", "64 bits", "smaller")),
    Row("a product beyond 64 bits", "plan base h=4000000000 d_k=4000000000", ("memory", SIZE)),
    Row("5,000 layers", "plan base N=5000", ("model.N", "at most 512")),
    Row("sentences of a hundred million words", "plan rnnsearch-50 estimate.target_tokens=100000000",
        ("estimate.target_tokens", "at most 10,000"), paper=BAHDANAU),
    Row("states beyond 64 bits", "plan rnnsearch-50 hidden=4000000000000", ("memory", SIZE), paper=BAHDANAU),
    Row("a system that the paper lacks", "plan base reproduces=nosuch", ("`reproduces` is `nosuch`", "write one of")),
    Row("a number with too many zeros", f"plan base alpha=1{'0' * 400}", ("decode.alpha", "below 1e30")),
    Row("a penalty beyond the floats", "translate {run} alpha=1.0e+300", ("decode.alpha", "lie in [0, 10]")),
    Row("a translation that never ends", "translate {run} max_factor=1.0e+300", ("decode.max_factor", "at most 1,000")),
    Row("a wider beam than memory", "translate {run} beam=1000000000000000",
        ("decoding a line", "memory", "lower run.decode_positions or decode.beam")),
    Row("a hundred thousand threads", "translate {run} run.threads=100000", ("run.threads", "at most 1,024")),
    Row("all probability to the other words", f"{NEW} label_smoothing=0.99",
        ("train.label_smoothing", "at most 0.983")),
    Row("a model beyond the machine", f"{NEW} d_ff=1000000000000", ("{root}/new", "memory", SIZE)),
    Row("parentheses for a value", "plan base 'N=(1'", ("model.N", "the text '(1'", "whole number")),
    Row("a mistyped key", "plan base vocabulary_sise=9", ("`vocabulary_sise`", "did you mean `vocabulary_size`?")),
    Row("an override of another type", "plan base train.steps=abc", ("`train.steps`", "(set by train.steps=abc)")),
    Row("a hexadecimal without digits", "plan base 'N=!!int 0x'", ("override", "not a YAML value")),
    Row("steps back", f"{NEW} train.steps=-1", ("train.steps", "be positive")),
    Row("a set that is not there", f"{NEW} 'evaluate.sets=[nosuch]'", ("evaluate.sets", "nosuch")),
    Row("a language that is not there", f"{NEW} data.source=xx", ("data.source is `xx`", "en, fr")),
    Row("one language for both", f"{NEW} data.target=en", ("data.source and data.target", "choose two languages")),
    Row("a field of training to translate", "translate {run} train.seed=2",
        ("{run}", "`train.seed`", "training of its own")),
    Row("no whole number of workers", "prepare demo/base-enfr --workers 1.5", ("--workers", "a number from 1 on")),
    Row("no checkpoints to average", "average {run} --last 0", ("--last 0", "at least 1")),
    Row("another scale", "tables --scale tiny", ("--scale", "demo")),
    Row("no verb", "", ("required: VERB", "--help")),
]  # fmt: skip
TEXTS = [
    Row("sides of unequal length", NEW, ("train.en", "200 lines", "train.fr has 1", "must translate"),
        text("train.fr", "un\n")),
    Row("no lines", NEW, ("train.en", "train.fr", "0 lines"), text("train.en", "")),
    Row("Latin-1", NEW, ("train.fr", "line 200", "iconv"),
        lambda p: p.write("corpus/train.fr", b"un\n" * 199 + "été\n".encode("latin-1"))),
    Row("UTF-16", NEW, ("train.fr", "UTF-16", "iconv"), lambda p: p.write("corpus/train.fr", "un\n".encode("utf-16"))),
    Row("carriage returns alone", NEW, ("valid.en", "carriage returns", "tr "), text("valid.en", "a\rb\r")),
    Row("a web page", NEW, ("test.en", "HTML", "one sentence a line"), text("test.en", "<!DOCTYPE html>\n<html>\n")),
    Row("SGML that breaks off", NEW, ("test.en", "not closed", "as it was published"),
        text("test.en", SGML.format('<seg id="2">b'))),
    Row("SGML out of order", NEW, ("test.en", "follows segment 1", "as it was published"),
        text("test.en", SGML.format('<seg id="1">b</seg>'))),
    Row("SGML of other documents", NEW, ("test.en has 1 segments", "take both sides of the same set"),
        lambda p: (p.write("corpus/test.en", SGML.format("")),
                   p.write("corpus/test.fr", SGML.format("").replace('"d"', '"e"')))),
    Row("a file name with a zero byte", NEW, ("toy.yaml", "declaration"),
        lambda p: p.change_corpus(train={"en": "a\0", "fr": "train.fr"})),
    Row("a folder for a text", NEW, ("corpus", "directory"),
        lambda p: p.change_corpus(train={"en": ".", "fr": "train.fr"})),
    Row("a text that is away", NEW, ("nosuch.fr", "No such file", "toy.yaml names this file", "correct its path"),
        lambda p: p.change_corpus(train={"en": "train.en", "fr": "nosuch.fr"})),
    Row("a line of 20 MB", NEW, ("train.en", "one sentence on each line"), text("train.en", "a" * (20 << 20))),
    Row("lines that are all too long", f"{NEW} max_length=1", ("max_length",)),
    Row("nothing left by the cleaning", f"{NEW} clean_tokens=1",
        ("toy", "no training pair is left (200 too_long)", "data.clean_tokens")),
    Row("compressed text on standard input", "translate {run}", ("standard input", "decompress"),
        stdin=b"\x1f\x8b\x08\0"),
    Row("Latin-1 on standard input", "translate {run}", ("standard input, line 2", "iconv"), stdin=b"a\n\xe9\n"),
    Row("SGML on standard input", "translate {run}", ("standard input", "plain text"), stdin=b"<refset>\n"),
    Row("no standard input", "translate {run}", ("standard input is closed", "translate RUN < FILE"), stdin=None),
    Row("a line too long for the memory", "translate {run}", ("decoding a line of 200,001 tokens", "split that line"),
        stdin=b"x" * 200_000),
    Row("hypotheses of another file", "score --hypothesis {root}/corpus/test.en --reference {root}/corpus/train.en",
        ("test.en has 20 lines", "train.en has 200")),
    Row("hypotheses without references", "score --hypothesis {root}/corpus/test.en", ("--reference F",)),
    Row("a folder for the figure",
        "score --laboratory --hypothesis {corpus} --reference {corpus} --figure {root}/d.png",
        ("{root}/d.png: cannot be written (Is a directory)", "choose another"), lambda p: (p.root / "d.png").mkdir()),
    Row("a folder of references", "score --hypothesis {root}/corpus/test.en --reference {root}",
        ("{root}", "directory")),
]  # fmt: skip
ARCHIVES = [
    Row("no archive", NEW, ("all.tgz", "not"), archive(None)),
    Row("no such member", NEW, ("all.tgz", "train.fr", "train.en"), archive("train.en")),
    Row("an archive cut off", NEW, ("all.tgz", "again"),
        lambda p: (archive("train.en")(p), p.change_corpus(train={"en": "all.tgz train.en", "fr": "train.fr"}),
                   p.write("corpus/all.tgz", (p.root / "corpus/all.tgz").read_bytes()[:150]))),
]  # fmt: skip
CHECKPOINTS = [
    Row("a mean cut off", "translate {run}", ("model.safetensors", "damaged", "`average`"),
        damaged("model.safetensors")),
    Row("a mean with an endless header", "score {run} --runs {root}", ("model.safetensors", "damaged", "`average`"),
        damaged("model.safetensors", b"\xff" * 64)),
    Row("a pickle for a mean", "translate {run}", ("model.safetensors", "damaged"),
        lambda p: torch.save({"E": torch.ones(1)}, p.run / "model.safetensors")),
    Row("a checkpoint cut off", "average {run}", ("000000004.safetensors", "damaged"),
        damaged("checkpoints/000000004.safetensors")),
    Row("a folder for a checkpoint", "average {run}", ("000000006.safetensors", "train"),
        lambda p: (gone("checkpoints/000000006.safetensors")(p),
                   (p.run / "checkpoints/000000006.safetensors").mkdir())),
    Row("no checkpoint", "average {run}", ("{run}", "no checkpoints", "train the run first"), gone("checkpoints")),
    Row("a checkpoint of another model", "average {run}", ("000000006.safetensors", "other tensors", "one run's only"),
        lambda p: other_model(p, "checkpoints/000000006.safetensors")),
    Row("a mean of another model", "translate {run}", ("model.safetensors", "another model"),
        lambda p: other_model(p, "model.safetensors")),
    Row("fewer checkpoints than asked", "average {run} --last 4", ("{run}", "3 kept", "--last 3")),
    Row("both states cut off", AGAIN, ("state/000000006.safetensors", "damaged", "delete {run} to start over"),
        lambda p: (damaged("state/000000004.safetensors")(p), damaged("state/000000006.safetensors")(p))),
    Row("no state", AGAIN, ("{run}/state", "missing", "put it back"), gone("state")),
    Row("fewer updates than made", f"{AGAIN} train.steps=4", ("{run}", "6 updates", "set train.steps")),
]  # fmt: skip
RUNS = [
    Row("no run folder", "translate {root}/nosuch", ("{root}/nosuch", "not a run folder", "train RECIPE --out")),
    Row("a file for a run folder", "translate {corpus}", ("{corpus}", "not a run folder", "name the folder of a run")),
    Row("no recipe beside updates", "translate {run}", ("recipe.yaml", "missing", "put it back"), gone("recipe.yaml")),
    Row("results that are nowhere", "tables --results {root}/nosuch --out {run}",
        ("--results {root}/nosuch", "no such")),
    Row("runs that are nowhere", "tables --runs {root}/nosuch", ("{root}/nosuch/demo", "no run", "--runs")),
    Row("a run for a folder of results", "tables --results {run} --out {root}/tables",
        ("{run}", "one run", "name a folder of finished runs")),
    Row("an empty path", f"{AGAIN} --runs ''", ("--runs", "write a path")),
    Row("the run of another paper", "translate {run}", ("{run}", "python -m papers.vaswani2017"), paper=BAHDANAU),
    Row("a recipe cut off", "translate {run}", ("recipe.yaml", "missing key"), damaged("recipe.yaml")),
    Row("a recipe that is empty", "average {run}", ("recipe.yaml", "damaged", "train again"),
        damaged("recipe.yaml", b"")),
    Row("a recipe of other sizes", "translate {run}", ("model.safetensors", "another model", "in the recipe"),
        lambda p: unlike(p, model_d_ff=128)),
    Row("no text", "translate {run}", ("text/text.json", "call the same `train` again"), gone("text")),
    Row("a vocabulary cut off", "translate {run}", ("text/source.vocab", "damaged", "call the same `train` again"),
        damaged("text/source.vocab")),
    Row("merges that are noise", "score {run} --runs {root}",
        ("text/bpe.codes", "damaged", "call the same `train` again"),
        damaged("text/bpe.codes", b"\xff\xfe\0")),
    Row("merges of which one is gone", "translate {run}",
        ("text/bpe.codes", "damaged", "call the same `train` again"), lambda p: without_line(p.run / "text/bpe.codes")),
    Row("checksums that are noise", "translate {run}", ("text/sha256.json", "call the same `train` again"),
        damaged("text/sha256.json", b"[]")),
    Row("starts that are no list", AGAIN, ("starts.json", "move it away"), damaged("starts.json", b'{"a": 1}')),
    Row("a training.json that is noise", AGAIN, ("training.json", "delete it"), damaged("training.json", b"\xff")),
    Row("a result cut off", "tables --results {root} --out {root}/tables", ("result.json", "run `score`"),
        damaged("result.json")),
    Row("attention that is no matrix", "tables --results {root} --out {root}/tables",
        ("attention.json", "no matrix", "`score`"),
        damaged("attention.json", b'[{"line": "a", "source": ["a"], "target": ["b"], "attention": {"source": 1}}]')),
    Row("attention over other tokens", "tables --results {root} --out {root}/tables",
        ("attention.json", "no matrix over its tokens", "`score`"),
        damaged("attention.json", b'[{"line": "a", "source": ["a"], "target": ["b", "c"], "attention": [[1, 0, 0]]}]')),
    Row("attention without the encoder's", "tables --results {root} --out {root}/tables",
        ("no attention `encoder`", "`score`"),
        damaged("attention.json", b'[{"line": "a", "source": ["a"], "target": ["b"], "attention": {"x": [[1]]}}]')),
    Row("another model in its place", f"{AGAIN} model.d_ff=32",
        ("{run}", "`model.d_ff` was 64, now 32", "another --out")),
    Row("a run without the one it continues", f"{NEW} train.continues=nosuch",
        ("{root}/nosuch", "no state", "train that")),
    Row("a file for the folder of runs", "{train} --out {root}/new --runs {corpus}", ("{corpus}", "Not a directory")),
    Row("a file for --out", "{train} --out {corpus}", ("{corpus}", "another --out folder")),
    Row("/proc for --out", "{train} --out /proc/run", ("/proc/run", "--out folder that can be written")),
    Row("a name too long for --out", f"{{train}} --out {{root}}/{'a' * 300}", ("File name too long", "check the path")),
    Row("a file for the tables", "tables --results {root} --out {corpus}", ("{corpus}", "cannot be written")),
    Row("a folder for the mean", "average {run}", ("model.safetensors", "cannot be written", "another folder"),
        lambda p: (gone("model.safetensors")(p), (p.run / "model.safetensors").mkdir())),
]  # fmt: skip
TABLE = {
    "recipes": RECIPES,
    "overrides": OVERRIDES,
    "texts": TEXTS,
    "archives": ARCHIVES,
    "checkpoints": CHECKPOINTS,
    "runs": RUNS,
}


def other_model(place: Place, name: str) -> None:
    """Put weights of another model into a file of the run."""
    from safetensors.torch import save_file

    save_file({"W": torch.ones(2)}, place.run / name, {"about": '{"step": 6}'})


@pytest.mark.parametrize(
    "row", [pytest.param(row, id=f"{name}: {row.name}") for name, rows in TABLE.items() for row in rows]
)
def test_a_fault_is_one_line_and_costs_nothing(row: Row, place: Place) -> None:
    row.arrange(place)
    before = files(place.root)
    done = call(filled(row.words, place), row.paper, row.stdin)
    assert done.status == 2, done.err
    assert "Traceback" not in done.err
    for part in row.says:
        assert filled(part, place) in done.last
    after = files(place.root)
    assert {name: after.get(name) for name in before} == before
    assert not [name for name in after.keys() - before.keys() if name.startswith("run/")]


# ----------------------------------------------------------------------------------------------------------------
# Signals, limits and the environment


def started(words: str, **options: object) -> subprocess.Popen[bytes]:
    """Start a verb in a process of its own."""
    command = [sys.executable, "-m", "papers.vaswani2017", *shlex.split(words)]
    return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, **options)  # type: ignore[call-overload]


@pytest.mark.parametrize(("blow", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_a_signal_while_translating(blow: signal.Signals, status: int, place: Place) -> None:
    """A shell shows a death by SIGKILL as 137. Signals to a training are in test_run_life.py."""
    before = files(place.root)
    process = started(f"translate {place.run}", stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    assert process.stdin and process.stderr
    process.stdin.write(b"\xe2\x80\x9c house \xe2\x80\x9d &apos;\n" * 600)  # a doubt is told once the text is read
    process.stdin.flush()
    process.stderr.readline()
    process.send_signal(blow)
    _, err = process.communicate()
    assert process.returncode == status and b"Traceback" not in err, err
    word = {signal.SIGINT: b"interrupted; ", signal.SIGTERM: b"stopped; "}.get(blow, b"")
    assert not word or word + b"0 translations are written; for the rest give it `tail -n +1 FILE`" in err
    assert files(place.root) == before


def test_a_damaged_text_is_mended_by_training_again(place: Place) -> None:
    """The cure that the message gives."""
    before = files(place.run)
    without_line(place.run / "text" / "bpe.codes")
    assert call(f"translate {place.run}", stdin=b"the house\n").status == 2
    (place.run / "training.json").unlink()
    done = call(f"{place.train} --out {place.run}")
    assert done.status == 0, done.err
    after = files(place.run)
    same = {name for name, sha in before.items() if after[name] == sha}
    assert same >= {name for name in before if name.split("/")[0] in ("text", "checkpoints", "model.safetensors")}
    assert call(f"translate {place.run}", stdin=b"the house\n").status == 0


@contextmanager
def memory(more: int) -> Iterator[None]:
    """Let this process have so many more bytes of address space."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    limit = psutil.Process().memory_info().vms + more
    resource.setrlimit(resource.RLIMIT_AS, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.mark.parametrize(
    ("words", "says", "stdin"),
    [
        (f"{NEW} d_ff=4000000", ("{root}/new", "the model of demo/base-enfr", SIZE), b""),
        (f"{NEW} d_ff=400000 batch.tokens=100000", ("{root}/new: update 1", "raise batch.accumulate"), b""),
        ("translate {run} beam=100000", ("decoding a line", "lower run.decode_positions or decode.beam"), b"house\n"),
    ],
    ids=["model", "update", "beam"],
)
def test_memory_that_does_not_suffice(words: str, says: tuple[str, ...], stdin: bytes, place: Place) -> None:
    before = files(place.run)
    with memory(300 << 20):
        done = call(filled(words, place), stdin=stdin)
    assert done.status == 2 and "the memory does not suffice" in done.last, done.err
    assert all(filled(part, place) in done.last for part in says) and files(place.run) == before
    assert call(f"translate {place.run}", stdin=b"house\n").status == 0


def test_memory_of_a_gpu_that_does_not_suffice(place: Place) -> None:
    """On a GPU by a model that is too large, elsewhere by an error with CUDA's own text."""
    if torch.cuda.is_available():
        done = call(filled(f"{NEW} run.device=cuda d_ff=4000000000", place))
        assert done.status == 2 and "the memory does not suffice" in done.last and SIZE in done.last
        return
    error = torch.OutOfMemoryError(
        "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79.11 GiB of which 1.2 GiB is "
        "free. Process 7 has 77 GiB memory in use."
    )
    with pytest.raises(UserError, match="^run: update 3: the memory does not suffice; lower batch.tokens$"):
        with enough_memory("run: update 3", "lower batch.tokens"):
            raise error
    with pytest.raises(RuntimeError, match="mat1"), enough_memory("run: update 3", "lower batch.tokens"):
        torch.ones(2, 3) @ torch.ones(2, 3)  # another error of the same class stays itself


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (NEW, ("{root}/new", "free space")),
        (AGAIN, ("{run}", "free space")),
        ("average {run}", ("model.safetensors", "free space")),
        ("score {run} --runs {root}", ("result.json", "free space")),
        ("tables --results {root} --out {root}/tables", ("{root}/tables", "free space")),
    ],
    ids=["train", "train on", "average", "score", "tables"],
)
def test_a_full_disk(words: str, says: tuple[str, ...], place: Place) -> None:
    """No file can grow beyond 3,000 bytes. Afterwards the run goes on as if nothing had happened."""
    weights = {name: sha for name, sha in files(place.run).items() if name.endswith(".safetensors")}
    with files_no_larger_than(3_000):
        done = call(filled(words, place))
    assert done.status == 2 and all(filled(part, place) in done.last for part in says), done.err
    assert {name: files(place.run).get(name) for name in weights} == weights
    done = call(f"{place.train} --out {place.run} train.steps=7")
    assert done.status == 0, done.err


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-", "2>&1 | head -n 1"])
def test_an_output_that_nobody_reads(closed: str, place: Place) -> None:
    """The work is done all the same, and the run is whole."""
    program = f"{sys.executable} -m papers.vaswani2017"
    done = subprocess.run(
        ["bash", "-c", f"{program} {place.train} --out {place.root}/unheard train.steps=40 log_every=1 {closed}"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "Traceback" not in done.stderr and (place.root / "unheard" / "training.json").is_file()
    words = ["bash", "-c", f"echo house | {program} translate {place.run} {closed}"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "Traceback" not in done.stderr + done.stdout


def test_a_full_device_for_output() -> None:
    """The message comes from the program and not from Python's end."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    with open("/dev/full", "wb") as full:
        process = started("plan demo/base", stdout=full, env=environment)
        _, err = process.communicate()
    assert process.returncode == 2, err
    assert b"output: No space left on device; free some space and run again" in err.splitlines()[-1]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write into a read-only folder")
def test_a_folder_that_may_not_be_written(place: Place) -> None:
    place.run.chmod(0o500)
    try:
        done = call(filled("average {run}", place))
    finally:
        place.run.chmod(0o700)
    assert done.status == 2 and "model.safetensors: cannot be written (Permission denied)" in done.last


def test_a_mirror_that_is_nowhere(monkeypatch: pytest.MonkeyPatch, place: Place) -> None:
    monkeypatch.setenv("PAPERS_MIRROR", "/nowhere")
    done = call(f"prepare multi30k/base --runs {place.root}")
    assert done.status == 2 and "PAPERS_MIRROR names /nowhere" in done.last and "correct it or unset it" in done.last


def test_no_git_and_no_home(monkeypatch: pytest.MonkeyPatch, place: Place) -> None:
    """A run is scored without either; its result then names no commit."""
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.delenv("HOME", raising=False)
    done = call(filled("score {run} --runs {root} --json", place))
    assert done.status == 0 and '"commit": null' in done.out
    done = call("plan ~nobody-of-that-name/mine.yaml")
    assert done.status == 2 and "no recipe `~nobody-of-that-name/mine.yaml`" in done.last


def test_an_empty_environment_and_an_odd_locale(place: Place) -> None:
    """The loader of shared libraries aside, nothing is needed from the environment."""
    process = started(
        f"translate {place.run}", env={"LC_ALL": "xx_YY.none", "TMPDIR": "/nowhere"},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    out, err = process.communicate("l’été\n".encode())
    assert process.returncode == 0 and out.count(b"\n") == 1, err
    assert out.decode() == call(f"translate {place.run}", stdin="l’été\n".encode()).out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["nosuch"], "unknown word 'nosuch'; see ./reproduce.sh --help"),
        (["--runs"], "--runs needs a value; see ./reproduce.sh --help"),
        (["demo", "--slots"], "--slots needs a value; see ./reproduce.sh --help"),
    ],
)
def test_words_that_reproduce_does_not_know(words: list[str], says: str) -> None:
    done = subprocess.run(["bash", str(ROOT / "reproduce.sh"), *words], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (2, f"reproduce.sh: {says}\n")


# ----------------------------------------------------------------------------------------------------------------
# Numbers that are none, and a process that dies


SYSTEMS = {
    "bahdanau2014": (BAHDANAU, "demo/rnnsearch-50", TINY_RNN),
    "vaswani2017": (VASWANI, "demo/base-enfr", SIZES),
}


def trainer(paper: Paper, name: str, words: list[str], place: Place) -> Trainer:
    """Return the trainer of a new run in the folder `new`, before its first update."""
    recipe = paper.recipe(name, [*words, f"data.corpus={place.corpus}", "run.device=cpu"])
    prepared = prepare_data(recipe, place.root)
    return build_trainer(paper, recipe, place.root / "new", prepared, torch.device("cpu"), ALONE)


def poison(made: Trainer, update: int, value: float) -> None:
    """Let the first parameter's gradient hold `value` at one update, as an overflow on the device would."""
    made.parameters[0].register_hook(
        lambda gradient: torch.full_like(gradient, value) if made.progress.step + 1 == update else gradient
    )


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_groundhogs_rule_goes_on_after_a_gradient_that_is_no_number(value: float, place: Place) -> None:
    """Bahdanau2014: such a gradient becomes a tenth of the weights, and every number after it is one."""
    made = trainer(BAHDANAU, "demo/rnnsearch-50", TINY_RNN, place)
    poison(made, 2, value)
    assert made.fit(lambda line: None).step == 4
    assert all(bool(tensor.isfinite().all()) for tensor in made.model.state_dict().values())
    assert all(entry["loss"] < 20 for entry in read_log(made.run) if "loss" in entry)


@pytest.mark.parametrize("paper", SYSTEMS)
def test_a_loss_that_is_no_number_stops_and_leaves_what_was_saved(paper: str, place: Place) -> None:
    """A weight that is not finite gives such a loss in both papers."""
    made = trainer(*SYSTEMS[paper], place)
    made.stopping = True
    with pytest.raises(Terminated, match="stopped after update 1"):
        made.fit(lambda line: None)
    before = files(made.run)
    again = trainer(*SYSTEMS[paper], place)
    again.resume()
    with torch.no_grad():
        again.parameters[-1].fill_(float("nan"))
    with pytest.raises(UserError, match="new: the loss is nan at update 2; what was saved before is intact: lower"):
        again.fit(lambda line: None)
    after = files(made.run)
    assert {name: after[name] for name in before} == before
    whole = trainer(*SYSTEMS[paper], place)
    whole.resume()
    assert whole.fit(lambda line: None).step > 2


def test_a_process_of_several_that_dies(place: Place) -> None:
    """torchrun ends the others, with a status of its own, and the same command goes on.

    tests/test_parallel.py tests what a process that fails says, and that all end soon.
    """
    words = [*SIZES, f"data.corpus={place.corpus}", "train.steps=400", "checkpoint_every=200", "run.device=cpu"]
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    verb = ["-m", "papers.vaswani2017", "train", "demo/base-enfr", *words, "--out", str(place.root / "new")]
    command = [sys.executable, *torchrun, *verb, "--runs", str(place.root)]
    process = subprocess.Popen(
        command, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, stderr=subprocess.PIPE, start_new_session=True
    )
    try:
        while process.poll() is None and not any(place.root.glob("new/state/*.safetensors")):
            time.sleep(0.01)
        ranks = [child for child in psutil.Process(process.pid).children(recursive=True) if "train" in child.cmdline()]
        assert ranks, "it ended before one of its processes could be killed: give it more updates"
        ranks[-1].kill()
        process.communicate(timeout=120)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode != 0 and not (place.root / "new" / "training.json").exists()
    found = load_state(place.root / "new")
    assert found is not None
    done = call(f"{place.train} --out {place.root}/new train.steps={found[1]['step'] + 1} checkpoint_every=1")
    assert done.status == 0, done.err
