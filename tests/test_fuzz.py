"""Anything at all for an input: it is read, or refused in one line. Never a traceback, never without end."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from common.corpus.declaration import read_declaration
from common.corpus.lines import lines_as_they_come, read_lines
from common.corpus.sgml import read_sgml
from common.errors import UserError
from common.recipe import SECTIONS, current, load_recipe, recipe_from_dict
from common.run.plan import plan
from papers.bahdanau2014.paper import PAPER as BAHDANAU
from papers.vaswani2017.paper import PAPER as VASWANI
from tests.test_faults import Place, call, filled, finished, place

__all__ = ["finished", "place"]  # fixtures
fuzz = settings(max_examples=60, derandomize=True, database=None,
                suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])  # fmt: skip
SIZES_OF_ALL_KINDS = st.one_of(
    st.integers(-3, 3),
    st.integers(-(10**40), 10**40),
    st.sampled_from([0, 1, 512, 2**31, 2**53, 2**63 - 1, 2**63, 2**64, 10**18, 10**400]),
)
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | SIZES_OF_ALL_KINDS | st.floats() | st.text(max_size=8) | st.dates(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)
FIELDS = sorted(
    f"{section}.{key}"
    for section, kind in {**SECTIONS, **VASWANI.sections}.items()
    for key in kind.__dataclass_fields__
)
KEYS = st.sampled_from([*SECTIONS, "model", "optimizer", "title", "extends"]) | st.text(max_size=5)
RECIPE = (VASWANI.root / "recipes" / "wmt14" / "base.yaml").read_bytes()


@contextmanager
def refused_in_one_line() -> Iterator[None]:
    """Let the block end in a UserError, whose message must be one line. Any other exception fails the test."""
    try:
        yield
    except UserError as error:
        message = str(error)
        assert message.strip() and len(message.splitlines()) == 1


def mutated(original: bytes) -> st.SearchStrategy[bytes]:
    """Return the original with a part cut out, doubled, or replaced by anything."""
    place = st.integers(0, len(original))

    def change(at: int, until: int, put: bytes, double: bool) -> bytes:
        at, until = sorted((at, until))
        return original[:at] + (original[at:until] * 2 if double else put) + original[until:]

    return st.builds(change, place, place, st.binary(max_size=12), st.booleans())


@fuzz
@given(content=st.binary(max_size=200) | st.text(max_size=200).map(str.encode) | mutated(RECIPE))
def test_recipe_files(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes(content)
    for read in (lambda: VASWANI.recipe(str(path)), lambda: read_declaration(path)):
        with refused_in_one_line():
            read()


@fuzz
@given(
    values=st.dictionaries(
        st.sampled_from([*SECTIONS, "model", "optimizer", "title", "extends"]) | st.text(max_size=5), VALUES
    )
)
def test_recipe_values(values: dict[str, Any], tmp_path: Path) -> None:
    """The same values in a file that extends a recipe, and as a whole recipe."""
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump({"extends": "base", **values}, allow_unicode=True), encoding="utf-8")
    for read in (
        lambda: VASWANI.recipe(str(path)),
        lambda: recipe_from_dict(current(values), VASWANI.sections, "here"),
    ):
        with refused_in_one_line():
            read()


@fuzz
@given(
    words=st.lists(
        st.text(max_size=12)
        | st.builds("{}={}".format, st.sampled_from(FIELDS), st.text(max_size=8) | SIZES_OF_ALL_KINDS | st.floats()),
        max_size=3,
    )
)
def test_overrides(words: list[str]) -> None:
    with refused_in_one_line():
        load_recipe(VASWANI.root / "recipes", "base", VASWANI.sections, words)


@settings(fuzz, max_examples=25)
@given(
    field=st.sampled_from(
        [name for name in FIELDS if name.startswith(("model", "batch", "estimate", "text", "train"))]
    ),
    size=st.integers(0, 20).map(lambda power: 10**power) | SIZES_OF_ALL_KINDS,
)
def test_plans_of_any_size(field: str, size: int) -> None:
    for paper, name in ((VASWANI, "demo/base"), (BAHDANAU, "demo/rnnencdec-30")):
        if (field == "model.N" or (field.startswith("estimate") and paper is BAHDANAU)) and 8 < size <= 10_000:
            continue  # layer by layer and word by word: up to a minute
        with refused_in_one_line():
            plan(paper, paper.recipe(name, [f"{field}={size}"]))


@settings(fuzz, max_examples=200)
@given(content=st.binary(max_size=300) | st.text(max_size=100).map(str.encode))
@pytest.mark.parametrize("name", ["text.en", "text.sgm", "text.en.gz", "text.tsv"])
def test_texts(content: bytes, name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    for read in (lambda: read_lines(path), lambda: list(lines_as_they_come(content.splitlines(True), name))):
        with refused_in_one_line():
            assert all("\n" not in line for line in read())


SET = """<?xml version="1.0"?>
<!DOCTYPE srcset SYSTEM "mteval.dtd">
<srcset setid="s" srclang="any"><!-- a comment -->
<doc sysid="ref" docid="d1" genre="news"><hl><seg id="1">A head &amp; a line &copy=1 AT&T 1 < 2</seg></hl>
<p><seg id="2">One &#38; two</seg><seg id="3"></seg></p></doc>
<doc docid="d2"><seg id="1">Three
lines</seg></doc></srcset>
"""


MARKUP = [
    b"<", b">", b"</", b"<seg id='1'>", b"</seg>", b"<doc docid='d'>", b"</doc>", b"<!--", b"-->", b"<!", b"<![CDATA[",
    b"]]>", b"<?", b"<![if", b"&", b"&#", b"&#x110000;", b"&#99999999;", b"&amp", b"'", b'"', b"=", b"\0", b"\r", b"a",
    b"<script>", b"<!DOCTYPE [",
]  # fmt: skip


@settings(fuzz, max_examples=300)
@given(content=mutated(SET.encode()) | st.lists(st.sampled_from(MARKUP), max_size=14).map(b"".join))
def test_sgml(content: bytes) -> None:
    with refused_in_one_line():
        found = read_sgml(content.decode("utf-8", "replace"), "set.sgm")
        assert found.lines and len(found.lines) == len(found.places) and not any("\n" in line for line in found.lines)


@pytest.fixture
def whole(place: Place) -> Iterator[tuple[Place, Path]]:
    """The place, and a copy of its run to begin each example with."""
    kept = place.root / "whole"
    shutil.copytree(place.run, kept)
    yield place, kept


NAMES = [
    "recipe.yaml",
    "model.safetensors",
    "log.jsonl",
    "starts.json",
    "training.json",
    "result.json",
    "checkpoints/000000006.safetensors",
    "state/000000006.safetensors",
    "state/000000004.safetensors",
    "text/text.json",
    "text/bpe.codes",
    "text/source.vocab",
    "text/target.vocab",
    "text/sha256.json",
]
VERBS = [
    "translate {run}",
    "average {run}",
    "score {run} --runs {root}",
    "tables --results {root} --out {root}/tables",
    "{train} --out {run} train.steps=7",
]


@settings(fuzz, max_examples=100)
@given(
    verb=st.sampled_from(VERBS),
    name=st.sampled_from(NAMES),
    damage=st.sampled_from(["gone", "folder", "cut", "bytes", "flip", "json"]),
    at=st.floats(0, 1, exclude_max=True),
    put=st.binary(max_size=40),
    value=VALUES,
)
def test_run_folders(
    verb: str, name: str, damage: str, at: float, put: bytes, value: Any, whole: tuple[Place, Path]
) -> None:
    """A verb on a run with one damaged file ends with status 0 or in one line."""
    place, kept = whole
    shutil.rmtree(place.run)
    shutil.copytree(kept, place.run)
    path = place.run / name
    content = path.read_bytes()
    middle = int(at * len(content))
    path.unlink()
    if damage == "folder":
        path.mkdir()
    elif damage != "gone":
        changed = {
            "cut": content[:middle],
            "bytes": put,
            "flip": content[:middle] + put[:1] + content[middle + 1 :],
            "json": json.dumps(value, default=str).encode(),  # YAML as well
        }
        path.write_bytes(changed[damage])
    done = call(filled(verb, place), stdin=b"the house\n")
    assert done.status in (0, 2) and "Traceback" not in done.err, done.err
    assert done.status == 0 or done.last.startswith("python -m papers.vaswani2017: ")
