"""Preparation end to end on a small corpus of its own, published the way real ones are: gzipped, with checksums."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import json
import multiprocessing
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml

from common.corpus import declaration
from common.corpus.declaration import declared_names, find_corpus
from common.corpus.fetch import MIRROR
from common.corpus.lines import read_lines
from common.errors import UserError
from common.prepare.manifest import Manifest, Output
from common.prepare.preparation import prepare
from common.prepare.prepared import Prepared, TrainUsed
from common.recipe import Data, Estimate, Text
from common.text.pipeline import TextPipeline

TOY = Data(corpus="toy", source="en", target="fr")
WORDS = Text(tokeniser="moses-2016", lowercase=False, segmentation="words", bpe_merges=None, vocabulary_size=20)
BPE = dataclasses.replace(WORDS, segmentation="bpe", bpe_merges=25, vocabulary_size=60)
TRAIN = (
    "The cat sees the dog.\nThe dog sees the cat.\n\nIt's a cat.\n"
    "A\u2028line  with\u00a0odd spaces.\r\n   \nThe cats see.\ndog\n",
    "Le chat voit le chien.\nLe chien voit le chat.\nvide\nC'est un chat.\nUne\x85ligne.\n?\nLes chats voient.\n\n",
)
VALID = ("The cat sees.\n\n", "Le chat voit.\nchien\n")
TEST = ("The bird sees the dog.\nDOG\n", "L'oiseau voit le chien.\nCHIEN\n")
TEXTS = {"train": TRAIN, "valid": VALID, "test": TEST}

Publish = Callable[..., None]
Run = Callable[..., Prepared]


@pytest.fixture
def publish(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Publish:
    """Declares a corpus `toy`, known by name, whose files lie in a mirror folder."""

    def write(texts: dict[str, tuple[str | bytes, str | bytes]]) -> None:
        declared: dict = {"title": "a toy", "licence": "free", "citation": "nobody 2014", "sets": {}, "files": {}}
        for split, sides in texts.items():
            place = {language: f"{split}.{language}.gz" for language in ("en", "fr")}
            (declared["sets"] if split != "train" else declared)[split] = place
            for name, text in zip(place.values(), sides, strict=True):
                content = gzip.compress(text.encode() if isinstance(text, str) else text, mtime=0)
                path = tmp_path / "mirror" / "toy" / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
                digest = hashlib.sha256(content).hexdigest()
                declared["files"][name] = {"url": f"http://127.0.0.1:9/{name}", "size": len(content), "sha256": digest}
        (tmp_path / "toy.yaml").write_text(yaml.safe_dump(declared, sort_keys=False))
        monkeypatch.setattr(declaration, "DECLARED", tmp_path)
        monkeypatch.setenv(MIRROR, str(tmp_path / "mirror"))

    return write


@pytest.fixture
def run(tmp_path: Path, publish: Publish) -> Run:
    """Prepares the toy corpus under tmp_path/data, with TEXTS published."""
    publish(TEXTS)
    return lambda text, data=TOY, **options: prepare(
        data, text, tmp_path / "data", tmp_path / "downloads", splits=["test"], **options
    )


def test_words_by_hand(run: Run) -> None:
    """Pairs 3, 6 and 8 have an empty side and are dropped; odd line breaks stay inside their lines."""
    prepared = run(WORDS)
    text, train = prepared.text, prepared.train
    decoded = [
        (text.source_vocabulary.decode(a), text.target_vocabulary.decode(b))
        for a, b in map(train.__getitem__, range(5))
    ]
    assert len(train) == 5 and prepared.manifest.counts.train.dropped["empty"] == 3
    assert decoded[0] == ("The cat sees the dog .".split(), "Le chat voit le chien .".split())
    assert decoded[2] == ("It &apos;s a cat .".split(), "C&apos; est un chat .".split())
    assert decoded[3] == ("A line with odd spaces .".split(), "Une ligne .".split())
    assert train.source_lengths.tolist() == [7, 7, 6, 7, 5]


def test_shortlists_come_from_training_text_alone(run: Run) -> None:
    prepared = run(dataclasses.replace(WORDS, vocabulary_size=6))
    # Five full stops, three cats; `The` three times too, `dog`, `sees`, `the` twice: upper case sorts first.
    assert prepared.text.source_vocabulary.words == (".", "The", "cat", "dog")
    assert prepared.text.encode_source("The bird sees the dog.") == [3, 1, 1, 1, 5, 2]
    counts = prepared.manifest.counts
    assert counts.held_out["test"].source.unk_rate == pytest.approx(4 / 7, abs=1e-6)
    assert counts.train.source.word_types == len(
        Counter("The cat sees the dog . It &apos;s a A line with odd spaces cats see".split())
    )


def test_joint_words_are_one_shortlist_with_one_id_on_both_sides(run: Run) -> None:
    prepared = run(dataclasses.replace(WORDS, segmentation="joint_words", vocabulary_size=6))
    text = prepared.text
    # Ten full stops on both sides together, three of `The`, `cat` and `chat`, two of each next one.
    assert text.source_vocabulary.words == text.target_vocabulary.words == (".", "The", "cat", "chat")
    assert (text.encode_source("The chat sees."), text.encode_target("Le cat.")) == ([3, 5, 1, 2], [1, 4, 2])
    assert prepared.train.source.gather(np.array([0]))[0].tolist() == [[3, 4, 1, 1, 1, 2, 0]]
    assert prepared.train.target.gather(np.array([0]))[0].tolist() == [[1, 5, 1, 1, 1, 2, 0]]
    assert "coverage" in (prepared.directory / "summary.md").read_text(encoding="utf-8")


def test_validation_keeps_every_pair_and_test_sets_stay_text(run: Run) -> None:
    prepared = run(WORDS)
    assert len(prepared.valid) == 2 and prepared.valid.source_lengths.tolist() == [5, 1]
    assert prepared.lines("test") == {
        "source": ["The bird sees the dog.", "DOG"],
        "source_tokens": ["The bird sees the dog .", "DOG"],
        "reference": ["L'oiseau voit le chien.", "CHIEN"],
        "reference_tokens": ["L&apos; oiseau voit le chien .", "CHIEN"],
    }
    assert prepared.lines("valid")["source_tokens"] == ["The cat sees .", ""]
    with pytest.raises(UserError, match="no text of `dev`; it has valid, test"):
        prepared.lines("dev")


def test_lowercase_reaches_references_but_not_raw_sources(run: Run) -> None:
    lines = run(dataclasses.replace(WORDS, lowercase=True)).lines("test")
    assert [lines[key][1] for key in ("source", "source_tokens", "reference", "reference_tokens")] == (
        ["DOG", "dog", "chien", "chien"]
    )


def test_bpe_shares_one_vocabulary_and_comes_undone(run: Run) -> None:
    prepared = run(BPE)
    text = prepared.text
    assert text.source_vocabulary.words == text.target_vocabulary.words
    for split in ("train", "valid"):
        ids = getattr(prepared, split)
        for index in range(len(ids)):
            source, target = (text.segmenter.join(text.source_vocabulary.decode(side)) for side in ids[index])
            assert "UNK" not in source and "UNK" not in target
            if split == "valid":
                lines = prepared.lines("valid")
                assert (source, target) == (
                    lines["source_tokens"][index].split(),
                    lines["reference_tokens"][index].split(),
                )
    assert text.target_tokens([*text.encode_target("L'chat voit."), 0, 5, 5]) == ["L&apos;", "chat", "voit", "."]
    assert text.detokenise(text.target_tokens(text.encode_target("C'est un chat."))) == "C'est un chat."


def test_files_are_mapped_and_typed(run: Run) -> None:
    side = run(WORDS).train.source
    assert all(isinstance(array.base, np.memmap) for array in (*side.shards, side.offsets))
    assert side.shards[0].dtype == np.uint16 and side.offsets.dtype == np.int64
    wide = run(dataclasses.replace(WORDS, vocabulary_size=70_000)).train.source
    assert wide.shards[0].dtype == np.int32 and (wide.shards[0][:4] > 1).all()


def test_manifest_tells_everything(run: Run, tmp_path: Path) -> None:
    prepared = run(WORDS)
    manifest = prepared.manifest
    assert (manifest.title, manifest.licence, manifest.generated) == ("a toy", "free", False)
    for name, digest in manifest.inputs.items():
        assert hashlib.sha256((tmp_path / "mirror/toy" / name).read_bytes()).hexdigest() == digest
    assert len(manifest.inputs) == 6
    files = {path.name for path in prepared.directory.iterdir()} - {"manifest.json", "summary.md", "lengths.png"}
    assert set(manifest.outputs) == files
    for name, file in manifest.outputs.items():
        content = (prepared.directory / name).read_bytes()
        assert file == Output(bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
    kept = json.loads((prepared.directory / "manifest.json").read_text(encoding="utf-8"))
    assert kept == json.loads(json.dumps(manifest.to_dict())) and Manifest.read(prepared.directory) == manifest
    assert kept["counts"]["train"]["dropped_empty"] == 3 and kept["counts"]["test"]["source_tokens"] == 7
    assert {*prepared.facts} == {*kept} - {"steps"} | {"train_used"}


def test_a_second_call_reuses_the_folder(run: Run) -> None:
    stamp = (run(WORDS).directory / "manifest.json").stat().st_mtime_ns
    again = run(WORDS, max_length=6, estimate=Estimate(pairs=3, source_tokens=99.0, target_tokens=1.0))
    assert (again.directory / "manifest.json").stat().st_mtime_ns == stamp


@pytest.mark.parametrize(
    "change",
    [{"vocabulary_size": 21}, {"lowercase": True}, {"tokeniser": "moses-2014"}, {"source": "fr", "target": "en"}],
)
def test_what_matters_gets_a_folder_of_its_own(run: Run, change: dict) -> None:
    text, data = (dataclasses.replace(section, **_of(section, change)) for section in (WORDS, TOY))
    assert run(WORDS).directory != run(text, data).directory


def _of(section: Data | Text, change: dict) -> dict:
    return {key: value for key, value in change.items() if hasattr(section, key)}


def test_other_input_gets_a_folder_of_its_own(run: Run, publish: Publish) -> None:
    first = run(WORDS).directory
    publish({**TEXTS, "test": VALID})
    assert run(WORDS).directory != first


@pytest.mark.parametrize("damage", ["missing", "short", "manifest"])
def test_a_damaged_folder_is_made_again(run: Run, damage: str) -> None:
    directory = run(WORDS).directory
    before = {path.name: path.read_bytes() for path in directory.iterdir()}
    if damage == "manifest":
        (directory / "manifest.json").write_text("{")
    elif damage == "short":
        (directory / "source.vocab").write_bytes(before["source.vocab"][:-3])
    else:
        (directory / "train.target.00000.ids.npy").unlink()
    assert run(WORDS).directory == directory
    after = {path.name: path.read_bytes() for path in directory.iterdir()}
    assert after.keys() == before.keys()
    times = {"manifest.json", "summary.md"}  # these tell how long it took
    assert all(after[name] == before[name] for name in before.keys() - times)


def test_length_limit_counts_tokens_without_eos(run: Run) -> None:
    prepared = run(WORDS, max_length=5)
    assert (np.maximum(prepared.train.source_lengths, prepared.train.target_lengths) <= 6).all()
    assert len(prepared.train) == 2 and len(prepared.valid) == 2
    assert prepared.train_used == TrainUsed(max_length=5, pairs=2, dropped_by_length=3)
    assert prepared.text.source_vocabulary.words == run(WORDS).text.source_vocabulary.words


@pytest.mark.parametrize("section", [WORDS, BPE], ids=["words", "bpe"])
def test_a_saved_pipeline_stands_alone(run: Run, tmp_path: Path, section: Text) -> None:
    text = run(section).text
    (tmp_path / "run").mkdir()
    text.save(tmp_path / "run")
    loaded = TextPipeline.load(tmp_path / "run")
    for line in (*TRAIN[0].split("\n"), "Quite unseen, zéro!", ""):
        assert loaded.encode_source(line) == text.encode_source(line)
        assert loaded.source_tokens(line) == text.source_tokens(line)
    ids = text.encode_target("Le chat, voit-il ?")
    assert loaded.target_pieces([*ids, 0, 9]) == text.target_pieces(ids)
    assert loaded.detokenise(loaded.target_tokens(ids)) == text.detokenise(text.target_tokens(ids))


@pytest.mark.parametrize(("quotes", "tokeniser"), [(True, "moses-2014"), (False, "moses-2016")])
def test_a_pipeline_saved_under_an_earlier_name_of_the_tokeniser(
    run: Run, tmp_path: Path, quotes: bool, tokeniser: str
) -> None:
    run(WORDS).text.save(tmp_path)
    facts = json.loads((tmp_path / "text.json").read_text())
    del facts["tokeniser"]
    (tmp_path / "text.json").write_text(json.dumps(facts | {"moses_2014_quotes": quotes}))
    assert TextPipeline.load(tmp_path).tokeniser == tokeniser


def test_tokenised_text_is_learned_and_given_back_as_it_is(publish: Publish, tmp_path: Path) -> None:
    texts = ("It &apos;s AT&amp;T .\n", "C&apos; est AT&amp;T  - Rs. 5 .\n")
    publish({split: texts for split in ("train", "valid", "test")})
    section = dataclasses.replace(WORDS, tokeniser="none")
    prepared = prepare(TOY, section, tmp_path / "data", tmp_path / "downloads", splits=["test"])
    text = prepared.text
    assert set(text.source_vocabulary.words) == {"It", "&apos;s", "AT&amp;T", "."}
    assert prepared.lines("test")["reference_tokens"] == ["C&apos; est AT&amp;T - Rs. 5 ."]
    ids = text.encode_target("Rs. 5 &apos; .")
    assert text.detokenise(text.target_tokens(ids)) == "Rs. 5 UNK ."


@pytest.mark.parametrize("workers", [1, 2])
def test_processed_text_is_warned_of_once_a_file_and_kept_on_record(
    publish: Publish, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], workers: int
) -> None:
    """Three shards of four lines: the source is tokenised from the second on, the target has decomposed accents."""
    plain, tokenised, decomposed = "A cat, a dog.\n", "A cat , a dog .\n", "L'e\u0301te\u0301.\n"
    publish({**TEXTS, "train": (4 * plain + 8 * tokenised, 12 * decomposed), "test": (plain, "&eacute;t&eacute;\n")})
    monkeypatch.setattr("common.prepare.preparation.SHARD", 4)
    prepared = prepare(TOY, WORDS, tmp_path / "data", tmp_path / "downloads", splits=["test"], workers=workers)
    printed = [line for line in capfd.readouterr().err.splitlines() if line.startswith("warning: ")]
    starts = [
        "train.en.gz, line 5: `A cat , a dog .` looks tokenised (4 of 4 lines do)",
        "train.fr.gz, line 1: `L'e\u0301te\u0301.` looks decomposed (NFD) (4 of 4 lines do)",
        "test.fr.gz, line 1: `&eacute;t&eacute;` looks HTML-escaped (1 of 1 lines do)",
    ]
    warnings = prepared.manifest.warnings
    assert printed == [f"warning: {warning}" for warning in warnings]
    assert len(warnings) == 3 and all(map(str.startswith, warnings, starts))
    summary = (prepared.directory / "summary.md").read_text(encoding="utf-8")
    assert all(f"**Warning:** {warning}\n" in summary for warning in warnings)


def test_plain_text_is_not_warned_of(run: Run, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(WORDS).manifest.warnings == () and "warning" not in capfd.readouterr().err


@pytest.mark.parametrize("name", ["text.json", "source.vocab", "target.vocab", "bpe.codes"])
def test_a_pipeline_that_was_changed_is_prepared_again(run: Run, name: str) -> None:
    """A letter for another one, so that the size is the same."""
    path = run(BPE).directory / name
    whole = path.read_bytes()
    path.write_bytes(whole[:-3] + b"x" + whole[-2:])
    assert path.read_bytes() != whole
    run(BPE)
    assert path.read_bytes() == whole


@pytest.mark.parametrize("name", ["text.json", "source.vocab", "target.vocab", "bpe.codes"])
@pytest.mark.parametrize("content", [None, b"", b"[]", b"\xff"])
def test_a_damaged_pipeline_names_the_file(run: Run, tmp_path: Path, name: str, content: bytes | None) -> None:
    (tmp_path / "run").mkdir()
    run(BPE).text.save(tmp_path / "run")
    (tmp_path / "run" / name).unlink()
    if content is not None:
        (tmp_path / "run" / name).write_bytes(content)
    with pytest.raises(UserError, match=name.replace(".", r"\.")):
        TextPipeline.load(tmp_path / "run")


def large() -> dict[str, tuple[str, str]]:
    """A second of work."""
    draw = random.Random(1)
    lines = "".join(" ".join(f"w{draw.randint(1, 900)}" for _ in range(25)) + "\n" for _ in range(4_000))
    return {**TEXTS, "train": (lines, lines)}


def test_killed_while_preparing(run: Run, publish: Publish, tmp_path: Path) -> None:
    publish(large())
    process = multiprocessing.get_context("fork").Process(target=run, args=(WORDS,))
    process.start()
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("data/*.work")) and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(process.pid or 0, signal.SIGKILL)
    process.join()
    folders = [path.name for path in (tmp_path / "data").iterdir() if path.is_dir()]
    assert len(folders) == 1 and folders[0].endswith(".work")
    # What is left is neither taken for a result nor in the way of the next attempt.
    assert len(run(WORDS).train) == 4_000
    folders = [path.name for path in (tmp_path / "data").iterdir() if path.is_dir()]
    assert len(folders) == 1 and not folders[0].endswith(".work")


def test_two_processes_at_once(run: Run, tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=run, args=(BPE,)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * 4
    assert len([path for path in (tmp_path / "data").iterdir() if path.is_dir()]) == 1
    assert len(run(BPE).train) == 5


@pytest.mark.parametrize(
    ("texts", "says"),
    [
        ({"train": ("a\nb\n", "c\n")}, r"train\.en\.gz has 2 lines but .*train\.fr\.gz has 1"),
        ({"train": ("", "")}, r"train\.en\.gz and .*train\.fr\.gz are empty"),
        ({"train": ("\n \n", "a\nb\n")}, r"no training pair is left \(2 empty\); .* on both sides"),
        ({"train": ("a\nb\n", b"c\n\xe9t\xe9\n")}, r"train\.fr\.gz, line 2: not UTF-8"),
    ],
)
def test_bad_text_is_one_line_and_leaves_nothing(
    run: Run, publish: Publish, tmp_path: Path, texts: dict, says: str
) -> None:
    publish({**TEXTS, **texts})
    with pytest.raises(UserError, match=says) as caught:
        run(WORDS)
    assert "\n" not in str(caught.value)
    assert [path for path in (tmp_path / "data").iterdir() if path.is_dir() and path.suffix != ".work"] == []


def test_only_line_feeds_separate_lines(tmp_path: Path) -> None:
    text = "a\rb\x0bc\x1cd\x85e\u2028f\r\n\ng"
    (tmp_path / "text").write_bytes(text.encode())
    assert read_lines(tmp_path / "text") == ["a\rb\x0bc\x1cd\x85e\u2028f", "", "g"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"corpus": "europarl"}, "data.corpus is `europarl`; the corpora are toy, or"),
        ({"parts": ("europarl",)}, "data.parts: toy has no part `europarl`; it has train"),
        ({"valid": ("test", "newstest2012")}, "data.valid: toy has no set `newstest2012`; it has valid, test"),
        ({"target": "de"}, "data.target is `de`; toy has en, fr"),
        ({"target": "en"}, "both `en`"),
    ],
)
def test_a_corpus_that_cannot_be_read(run: Run, change: dict, says: str) -> None:
    with pytest.raises(UserError, match=says) as caught:
        run(WORDS, dataclasses.replace(TOY, **change))
    assert "\n" not in str(caught.value)


def test_an_unknown_test_set(run: Run, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="evaluate.sets: toy has no test set `newstest`; it has valid, test"):
        prepare(TOY, WORDS, tmp_path / "data", tmp_path, splits=["test", "newstest"])


def test_nowhere_to_write(publish: Publish, tmp_path: Path) -> None:
    publish(TEXTS)
    (tmp_path / "data").write_text("in the way")
    with pytest.raises(UserError, match="data: "):
        prepare(TOY, WORDS, tmp_path / "data", tmp_path)


def test_declared_corpora_are_complete() -> None:
    for name in declared_names():
        corpus = find_corpus(name)
        assert corpus.title and corpus.train and corpus.sets
        assert "not stated" not in (corpus.licence, corpus.citation)
        assert corpus.generated == ("generated" in corpus.title)
        used = set()
        for part in (part for named in (corpus.train, corpus.sets) for parts in named.values() for part in parts):
            used |= {place.file for place in part.sides.values()}
        licensed = {file for file in used if file.startswith(f"{Path.home()}/")}  # nobody else has it
        assert bool(licensed) == ("not free" in corpus.licence)
        assert used - set(corpus.files) == (used if corpus.generated else licensed)
        assert all((corpus.folder / name).is_file() for name in used - set(corpus.files) - licensed)
        for file in corpus.files.values():
            algorithm, digest = file.checksum
            assert len(bytes.fromhex(digest)) == {"sha256": 32, "md5": 16}[algorithm]
            assert file.urls and all(url.startswith("http") for url in file.urls) and file.path.startswith(f"{name}/")
    assert len(find_corpus("wmt14").files) == 10


@pytest.mark.parametrize(("target", "total"), [("fr", 40_842_333), ("de", 4_520_620)])
def test_wmt14_has_the_pairs_of_2014(target: str, total: int) -> None:
    """The totals of the five and the three parts that WMT 2014 offered for each pair."""
    names = ("europarl-v7", "commoncrawl", "news-commentary-v9", "undoc-2000", "giga-fren")
    there = {name: part for name in names for part in find_corpus("wmt14").train[name] if target in part.sides}
    assert sum(part.pairs or 0 for part in there.values()) == total


@pytest.mark.skipif(
    not (Path(os.environ.get(MIRROR, "/nonexistent")) / "multi30k").is_dir(),
    reason=f"set {MIRROR} to a folder with multi30k/ to prepare real text",
)
@pytest.mark.parametrize(("target", "lengths"), [("de", (12_103, 10_758, 5_158)), ("fr", (13_988, 12_596, 5_710))])
def test_multi30k(tmp_path: Path, target: str, lengths: tuple[int, ...]) -> None:
    """Pair counts of the corpus; reference lengths as its README and Wu et al. 2021 count them."""
    data = Data(corpus="multi30k", source="en", target=target)
    text = dataclasses.replace(WORDS, vocabulary_size=10_000, lowercase=True)
    prepared = prepare(data, text, tmp_path / "data", tmp_path / "downloads", splits=["test_2016_flickr"])
    counts = prepared.manifest.counts
    assert [counts.train.pairs, *(counts.held_out[name].pairs for name in find_corpus("multi30k").sets)] == [
        29_000,
        1_014,
        1_000,
        1_000,
        461,
        1_071,
    ]
    tests = ("test_2016_flickr", "test_2017_flickr", "test_2017_mscoco")
    assert tuple(counts.held_out[name].target.tokens for name in tests) == lengths
    assert not list((tmp_path / "downloads").rglob("*.gz"))
    assert json.loads((prepared.directory / "manifest.json").read_text())["generated"] is False
