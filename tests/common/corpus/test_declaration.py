"""Corpora of one's own: what a declaration may say, and that what it says is what is prepared."""

from __future__ import annotations

import bz2
import dataclasses
import gzip
import hashlib
import json
import lzma
import re
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from common.corpus.bitext import choose
from common.corpus.declaration import find_corpus, read_declaration
from common.corpus.fetch import MIRROR
from common.corpus.lines import read_lines
from common.errors import UserError
from common.prepare.preparation import _Preparation, prepare
from common.prepare.prepared import Prepared
from common.prepare.workers import Crew
from common.recipe import Data, Text
from common.score.files import score_files
from papers.bahdanau2014.paper import PAPER as BAHDANAU
from tests.made_results import cells

TEXTS = {
    "train.en": "the cat\nthe dog sees it\n",
    "train.fr": "le chat\nle chien le voit\n",
    "more.en": "a bird\n",
    "more.fr": "un oiseau\n",
    "valid.en": "the bird\n",
    "valid.fr": "l'oiseau\n",
    "test.en": "a cat\n",
    "test.fr": "un chat\n",
}
TRAIN, MORE, VALID, TEST = (
    {language: f"{name}.{language}" for language in ("en", "fr")} for name in ("train", "more", "valid", "test")
)
SWAPPED = {"en": "train.fr", "fr": "train.en"}


def declare(folder: Path, **changes: object) -> Path:
    """Writes TEXTS and a declaration of them into a folder."""
    for name, text in TEXTS.items():
        if not (folder / name).exists():
            (folder / name).write_text(text)
    path = folder / "mine.yaml"
    declared = {"title": "mine", "train": {"a": [TRAIN], "b": [MORE]}, "valid": VALID, "test": TEST, **changes}
    path.write_text(yaml.safe_dump(declared, sort_keys=False))
    return path


TEXT = Text(tokeniser="moses-2016", lowercase=False, segmentation="words", bpe_merges=None, vocabulary_size=20)


@pytest.fixture
def data(tmp_path: Path) -> Data:
    """Asks for all of the corpus that `declare` declares in tmp_path."""
    return Data(corpus=str(declare(tmp_path)), source="en", target="fr")


Prepare = Callable[..., Prepared]


@pytest.fixture
def run(tmp_path: Path, data: Data) -> Prepare:
    """Prepares what the declaration says now, by `data` with changes."""
    return lambda *splits, **changes: prepare(
        dataclasses.replace(data, **changes), TEXT, tmp_path / "data", tmp_path / "downloads", splits=splits, workers=1
    )


def sources(prepared: Prepared) -> list[str]:
    """The training sentences of the source side."""
    pairs = map(prepared.train.__getitem__, range(len(prepared.train)))
    return [" ".join(prepared.text.source_vocabulary.decode(source)) for source, _ in pairs]


def test_a_corrected_declaration_is_prepared_anew(run: Prepare, tmp_path: Path) -> None:
    declare(tmp_path, train={"a": [SWAPPED], "b": [MORE]})
    assert sources(run()) == ["le chat", "le chien le voit", "a bird"]
    declare(tmp_path)
    assert sources(run()) == ["the cat", "the dog sees it", "a bird"]


def test_the_order_of_parts_matters(run: Prepare, tmp_path: Path) -> None:
    assert sources(run()) == ["the cat", "the dog sees it", "a bird"]
    declare(tmp_path, train={"b": [MORE], "a": [TRAIN]})
    assert sources(run()) == ["a bird", "the cat", "the dog sees it"]


@pytest.mark.parametrize("shard", [1, 2, 50_000])
@pytest.mark.parametrize("packed", [False, True])
def test_only_the_first_pairs_counted_over_the_parts(
    run: Prepare, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shard: int, packed: bool
) -> None:
    """Whatever the size of the blocks they are read in, from lines or from SGML."""
    monkeypatch.setattr("common.prepare.preparation.SHARD", shard)
    train = {**TRAIN, "pairs": 2}
    if packed:
        (tmp_path / "train.sgm").write_bytes(sgml("srcset", TEXTS["train.en"]))
        train["en"] = "train.sgm"
    declare(tmp_path, train={"a": [train], "b": [{**MORE, "pairs": 1}]})
    whole = ["the cat", "the dog sees it", "a bird"]
    for first in (1, 2, 3, 4):
        prepared = run(first=first)
        assert sources(prepared) == whole[:first]
        parts = prepared.manifest.counts.train.parts
        assert [parts[name]["read"] for name in ("a", "b")] == [min(first, 2), min(max(first - 2, 0), 1)]
        assert prepared.manifest.expected == {"a": min(first, 2), "b": min(max(first - 2, 0), 1)}
    assert sources(run(parts=("b", "a"), first=2)) == ["a bird", "the cat"]
    assert run(first=3).directory != run().directory and sources(run()) == whole


def test_generated_text_is_called_so(run: Prepare, tmp_path: Path) -> None:
    assert run().manifest.generated is False
    declare(tmp_path, generated=True)
    prepared = run()
    assert prepared.manifest.generated is True
    assert "\nGenerated text.\n" in (prepared.directory / "summary.md").read_text()


@pytest.mark.parametrize("name", ["demo", "demo-small"])
def test_the_demo_has_the_text_it_declares(name: str) -> None:
    """As many lines in each language as declared, no line twice, and no test sentence in the training text."""
    corpus = find_corpus(name)
    (train,), sets = corpus.train["train"], {name: part for name, (part,) in corpus.sets.items()}
    for language in ("en", "de", "fr"):
        texts = [read_lines(corpus.folder / part.sides[language].file) for part in (train, sets["valid"], sets["test"])]
        assert [len(lines) for lines in texts] == [train.pairs, sets["valid"].pairs, sets["test"].pairs]
        assert len({line for lines in texts for line in lines}) == sum(map(len, texts))


@pytest.mark.parametrize(
    ("before", "after", "name", "says"),
    [
        ({"valid": TEST, "test": VALID}, {}, "valid", "the bird"),
        ({"valid": TEST, "test": VALID}, {}, "test", "a cat"),
        ({"sets": {"old": MORE}}, {"sets": {"new": MORE}}, "new", "a bird"),
        ({}, {"sets": {"held": VALID}}, "held", "the bird"),
        ({"sets": {"a": MORE, "b": TRAIN}}, {"sets": {"a": TRAIN, "b": MORE}}, "b", "a bird"),
    ],
    ids=["valid-and-test", "test-and-valid", "renamed", "added", "exchanged"],
)
def test_corrected_sets_are_prepared_anew(
    run: Prepare, tmp_path: Path, before: dict, after: dict, name: str, says: str
) -> None:
    declare(tmp_path, **before)
    run()
    declare(tmp_path, **after)
    assert run(name).lines(name)["source"][0] == says


def test_other_sets_as_development_set(run: Prepare) -> None:
    assert run().lines("valid")["source"] == ["the bird"]
    assert run(valid=("test",)).lines("valid")["source"] == ["a cat"]
    assert run(valid=("test", "valid")).lines("valid")["source"] == ["a cat", "the bird"]
    with pytest.raises(UserError, match="`valid` is the development set, here test and not mine's own `valid`"):
        run("valid", valid=("test",))


def archive(folder: Path, *names: str) -> Path:
    """An archive of some of TEXTS."""
    with tarfile.open(folder / "all.tgz", "w:gz") as tar:
        for name in names:
            tar.add(folder / name, name)
    return folder / "all.tgz"


def test_a_corrected_member_is_prepared_anew(run: Prepare, tmp_path: Path) -> None:
    archive(tmp_path, "train.en", "train.fr", "more.en", "more.fr")
    declare(tmp_path, train={language: f"all.tgz more.{language}" for language in ("en", "fr")})
    assert sources(run()) == ["a bird"]
    declare(tmp_path, train={language: f"all.tgz train.{language}" for language in ("en", "fr")})
    assert sources(run()) == ["the cat", "the dog sees it"]


def read_and_expected(summary: str) -> dict[str, tuple[str, str]]:
    """Of each training part, as a summary shows them."""
    return {row["part"]: (row["read"], row["expected"]) for row in cells(summary, "## Training pairs")}


def test_title_licence_citation_and_expected_pairs_are_those_of_now(run: Prepare, tmp_path: Path) -> None:
    train = {"a": [{**TRAIN, "pairs": 2}], "b": [{**MORE, "pairs": 5}]}
    declare(tmp_path, title="old", licence="none yet", train=train)
    first = run()
    summary = (first.directory / "summary.md").read_text()
    assert read_and_expected(summary) == {"a": ("2", "2"), "b": ("1", "5")}
    assert "# old, en-fr" in summary and "Licence: none yet" in summary
    train = {"a": [{**TRAIN, "pairs": 2}], "b": [{**MORE, "pairs": 1}]}
    declare(tmp_path, title="new", licence="CC0", citation="me", train=train)
    again = run()
    assert again.directory == first.directory
    assert (again.manifest.title, again.manifest.licence, again.manifest.citation) == ("new", "CC0", "me")
    summary = (again.directory / "summary.md").read_text()
    assert "# new, en-fr" in summary and "Licence: CC0" in summary
    assert read_and_expected(summary) == {"a": ("2", "2"), "b": ("1", "1")}
    declare(tmp_path, title="new", licence="CC0", citation="me")
    assert read_and_expected((run().directory / "summary.md").read_text())["a"] == ("2", "")


def test_counts_that_are_not_as_declared_are_told(
    run: Prepare, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    declare(tmp_path, train={**TRAIN, "pairs": 7}, test={**TEST, "pairs": 3})
    run()
    said = capsys.readouterr().err
    assert "mine train: 2 pairs where 7 were expected" in said and "mine test: 1 pairs where 3 were expected" in said


def test_the_folder_a_declaration_lies_in_does_not_matter(run: Prepare, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    other = declare(tmp_path / "elsewhere")
    assert run().directory == run(corpus=str(other)).directory


def test_a_file_that_changes_meanwhile(run: Prepare, data: Data, tmp_path: Path) -> None:
    inputs = {name: hashlib.sha256(text.encode()).hexdigest() for name, text in TEXTS.items()}
    (tmp_path / "more.fr").write_text("un avion\n")
    folder = tmp_path / "data" / "mine"
    with pytest.raises(UserError, match="^more.fr was changed while mine was prepared from it; run again$"):
        _Preparation(data, TEXT, choose(data), inputs, folder, tmp_path, Crew(1)).run()
    assert not list((tmp_path / "data").iterdir())


@pytest.mark.parametrize("name", ["encoded", "types", "train", "2013", "v1.2+x_y-z"])
def test_no_name_is_in_the_way_of_another_file(run: Prepare, tmp_path: Path, name: str) -> None:
    declare(tmp_path, train={name: [TRAIN], f"{name}.00000": [MORE]}, sets={f"{name}.source": MORE, f"_{name}": TRAIN})
    prepared = run(f"{name}.source", f"_{name}")
    assert sources(prepared) == ["the cat", "the dog sees it", "a bird"]
    assert prepared.lines(f"{name}.source")["source"] == ["a bird"]
    assert prepared.lines(f"_{name}")["reference"] == ["le chat", "le chien le voit"]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"train": {"../x": [TRAIN]}}, r"part `\.\./x`: write a name of letters, digits"),
        ({"sets": {"a/b": TEST}}, "set `a/b`: write a name of"),
        ({"sets": {".hidden": TEST}}, r"set `\.hidden`: write a name of"),
        ({"sets": {"train": TEST}}, "set `train`: the name `train` is taken; choose another"),
        ({"sets": {"Test": TEST}}, "set `test`: the name `Test` is taken"),
        ({"test": {"en": "test.en", "../fr": "test.fr"}}, r"language `\.\./fr`: write a name of"),
        ({"files": {"../x": {"url": "http://x/", "md5": "0"}}}, r"\.\./x is no name within a folder of downloads"),
        ({"files": {"/x": {"url": "http://x/", "md5": "0"}}}, "/x is no name within a folder of downloads"),
        ({"title": False}, "`title` is False, not text; YAML reads a bare yes, no, on, off"),
        ({"licence": False}, "`licence` is False, not text"),
        ({"generated": "partly"}, "`generated` is the text 'partly', not true or false"),
        ({"train": {**TRAIN, "pairs": "29,000"}}, r"`train\.pairs` is the text '29,000', not a whole number"),
        ({"train": {"en": "train.en", "fr": False}}, r"`train\.fr` is False, not text; .* put it in quotes"),
        ({"train": {"en": "a.tsv", "fr": "./a.tsv"}}, "train has the same text for en and fr; make a file of"),
        ({"train": {"en": "a.tsv.gz", "fr": "a.tsv.gz"}}, "with cut -f1 and cut -f2 of a.tsv.gz, and name those"),
        ({"train": {"en": "a.tgz b.tmx", "fr": "a.tgz b.tmx"}}, "convert a.tgz b.tmx to two text files"),
        ({"train": {"en": "a.TMX", "fr": "a.TMX"}}, "convert a.TMX to two text files"),
        ({"sets": {"t": {"en": "t", "fr": "u", "de": "t"}}}, "t has the same text for en and de; name a file for each"),
        ({"sets": {"t": [{"en": "t.en"}]}}, "fewer than two languages"),
    ],
)
def test_declarations_that_cannot_be_meant(run: Prepare, tmp_path: Path, changes: dict, says: str) -> None:
    path = declare(tmp_path, **changes)
    with pytest.raises(UserError, match=f"^{re.escape(str(path))}.*{says}") as caught:
        run()
    assert "\n" not in str(caught.value)


def test_a_language_that_yaml_takes_for_false(run: Prepare, tmp_path: Path) -> None:
    path = declare(tmp_path)
    path.write_text(path.read_text().replace("fr:", "no:"))
    with pytest.raises(UserError, match=r"mine\.yaml, line \d+: the key `no` is no name; .*: put it in quotes$"):
        run(target="no")
    path.write_text(path.read_text().replace("no:", "'no':"))
    assert sources(run(target="no"))[0] == "the cat"


def test_years_as_names(run: Prepare, tmp_path: Path) -> None:
    path = declare(tmp_path)
    path.write_text(
        "title: 2014\ntrain: {2013: {en: train.en, fr: train.fr}, 010: [{en: more.en, fr: more.fr}]}\n"
        "sets: {2014: {en: test.en, fr: test.fr}, 2012: {en: valid.en, fr: valid.fr}}\n"
    )
    prepared = run("2014", parts=("010", "2013"), valid=("2012",))
    assert sources(prepared) == ["a bird", "the cat", "the dog sees it"] and prepared.manifest.title == "2014"
    assert prepared.lines("2014")["source"] == ["a cat"] and prepared.lines("valid")["source"] == ["the bird"]


def test_paths_start_from_the_declaration_or_from_home(
    run: Prepare, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    (home / "in here").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    archive(tmp_path, "train.en", "train.fr").rename(home / "in here" / "all.tgz")
    monkeypatch.chdir(home)
    declare(tmp_path, train={language: f"~/in here/all.tgz train.{language}" for language in ("en", "fr")})
    assert sources(run()) == ["the cat", "the dog sees it"]


def sgml(kind: str, text: str) -> bytes:
    """A set of one document, a segment a line."""
    lines = enumerate(text.splitlines(), start=1)
    segments = "".join(f'<seg id="{number}">{line}</seg>\n' for number, line in lines)
    return f'<{kind} setid="x">\n<doc docid="d">\n<p>\n{segments}</p>\n</doc>\n</{kind}>\n'.encode()


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize(
    ("ending", "pack"),
    [
        (".sgm", bytes),
        (".sgml", bytes),
        (".SGM", bytes),
        ("", bytes),
        (".sgm.gz", gzip.compress),
        (".sgm.xz", lzma.compress),
        (".sgm", gzip.compress),
    ],
)
def test_sgml_is_read_as_such(
    run: Prepare, tmp_path: Path, split: str, ending: str, pack: Callable[[bytes], bytes]
) -> None:
    declare(tmp_path, train=TRAIN)
    before = run("test")
    for kind, language in (("srcset", "en"), ("refset", "fr")):
        (tmp_path / f"{split}.{language}{ending}").write_bytes(pack(sgml(kind, TEXTS[f"{split}.{language}"])))
    names = {language: f"{split}.{language}{ending}" for language in ("en", "fr")}
    declare(tmp_path, **{"train": TRAIN, split: names})
    again = run("test")
    assert sources(again) == sources(before) and again.lines("test") == before.lines("test")


def test_sgml_beside_plain_text(run: Prepare, tmp_path: Path) -> None:
    (tmp_path / "train.sgm").write_bytes(sgml("srcset", TEXTS["train.en"]))
    (tmp_path / "test.sgm").write_bytes(sgml("refset", TEXTS["test.fr"]))
    declare(tmp_path, train={"en": "train.sgm", "fr": "train.fr"}, test={"en": "test.en", "fr": "test.sgm"})
    prepared = run("test")
    assert sources(prepared) == ["the cat", "the dog sees it"] and prepared.lines("test")["reference"] == ["un chat"]


@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress, lzma.compress])
def test_marks_and_compression_without_a_name(run: Prepare, tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    before = run("test")
    for name, text in TEXTS.items():
        (tmp_path / name).write_bytes(pack(f"\ufeff{text}".encode()))
    again = run("test")
    assert again.directory != before.directory and sources(again) == sources(before)
    assert again.lines("test") == before.lines("test") and again.lines("valid") == before.lines("valid")
    assert "\ufeff" not in "".join(again.text.source_vocabulary.words + again.text.target_vocabulary.words)


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("\ufeffone\ntwo\n".encode("utf-16-le"), "is UTF-16; convert it with iconv -f UTF-16 -t UTF-8"),
        (b"one\rtwo\r", r"ends its lines with carriage returns alone; convert it with tr '\\r' '\\n'"),
        (b"<?xml version='1.0'?>\n<tmx version='1.4'>\n", "is XML or HTML; convert it"),
    ],
)
def test_what_is_no_text_is_told_from_its_cause(
    run: Prepare, tmp_path: Path, split: str, content: bytes, says: str
) -> None:
    for language in ("en", "fr"):
        (tmp_path / f"{split}.{language}").write_bytes(content)
    with pytest.raises(UserError, match=rf"{split}\.en {says}"):
        run()


def test_a_table_is_no_side(run: Prepare, tmp_path: Path) -> None:
    for name in ("one.tsv", "other.tsv"):
        (tmp_path / name).write_text("the cat\tle chat\n")
    declare(tmp_path, train={"en": "one.tsv", "fr": "other.tsv"})
    with pytest.raises(UserError, match="one.tsv has columns; make a file of the one that is meant, with cut -f1"):
        run()


def test_a_mirror_copy_is_compared_with_the_sum_of_now(
    run: Prepare, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A copy that was verified under one sum is not taken for that of another."""
    monkeypatch.setenv(MIRROR, str(tmp_path / "mirror"))
    (tmp_path / "mirror/mine").mkdir(parents=True)
    (tmp_path / "mirror/mine/t.en").write_text("the cat\nthe dog\n")
    facts = {"url": "http://127.0.0.1:9/t.en", "sha256": hashlib.sha256(b"the cat\nthe dog\n").hexdigest()}
    declare(tmp_path, train={"en": "t.en", "fr": "train.fr"}, files={"t.en": facts})
    assert sources(run()) == ["the cat", "the dog"]
    facts["sha256"] = "0" * 64
    declare(tmp_path, train={"en": "t.en", "fr": "train.fr"}, files={"t.en": facts})
    with pytest.raises(UserError, match=r"t\.en: has sha256 .*, not 000000000000"):
        run()


def test_scores_of_files_in_sgml_and_with_marks(tmp_path: Path) -> None:
    text = "Le chat noir voit le chien.\nUn autre chat le voit aussi.\n"
    (tmp_path / "hypothesis").write_text(f"\ufeff{text}")
    (tmp_path / "source.sgm").write_bytes(sgml("srcset", text))
    (tmp_path / "reference.sgm").write_bytes(sgml("refset", text))
    paths = [tmp_path / name for name in ("hypothesis", "reference.sgm", "source.sgm")]
    scores = score_files(*paths, BAHDANAU.recipe("rnnsearch-50"))
    assert scores["tokenised"]["bleu"] == pytest.approx(100) and scores["sacrebleu"]["bleu"] == pytest.approx(100)
    assert sum(row["sentences"] for row in scores["by_length"]) == 2
    paths[1].write_bytes(sgml("refset", text).replace(b'"d"', b'"e"'))
    with pytest.raises(UserError, match="reference.sgm has 2 segments but .*source.sgm has 2, and where one has"):
        score_files(*paths, BAHDANAU.recipe("rnnsearch-50"))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("title: x\n[a]: 3\ntrain: {en: a, fr: b}\n", "line 2: a key is a list or a mapping"),
        ("title: x\ntrain: {? {a: b} : c, fr: b}\n", "line 2: a key is a list or a mapping"),
        (
            "title: x\ntrain: {en: a, fr: b}\ntest: {en: c, fr: d}\nsets: {test: {en: e, fr: f}}\n",
            "the set `test` is declared twice",
        ),
    ],
)
def test_declarations_that_say_a_thing_twice_or_strangely(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "strange.yaml").write_text(text)
    with pytest.raises(UserError, match=says):
        read_declaration(tmp_path / "strange.yaml")


def test_the_manifest_tells_which_text_is_which(run: Prepare) -> None:
    manifest = json.loads((run(valid=("valid", "test")).directory / "manifest.json").read_text())
    assert manifest["texts"] == {
        "train": [["a", "train.en", "train.fr"], ["b", "more.en", "more.fr"]],
        "sets": {"valid": ["valid.en", "valid.fr"], "test": ["test.en", "test.fr"]},
        "valid": ["valid", "test"],
    }
    assert manifest["inputs"] == {name: hashlib.sha256(text.encode()).hexdigest() for name, text in TEXTS.items()}


def test_declarations_name_what_they_lack(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("title: mine\n")
    with pytest.raises(UserError, match=r"mine\.yaml: a corpus has the keys title, train, and any of"):
        read_declaration(tmp_path / "mine.yaml")
