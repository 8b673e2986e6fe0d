"""`analyse`, and UNK replaced by `translate` and `score`, on small runs with unknown words."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from common.align.links import write_links
from common.align.record import Measure, read_analysis
from common.align.statistical import folder_name
from common.errors import UserError
from common.report.results import export, read_results
from common.run.analyse import _Pieces, spread_ends
from common.run.folder import prepare_data
from papers.bahdanau2014.paper import PAPER
from tests.test_faults import TINY_RNN, Done, call, files
from tests.test_run_life import SIZES, declare, sentences

SYSTEMS = ("rnnsearch-50", "rnnencdec-50")
SHORT = ["text.vocabulary_size=5", "train.steps=6", "checkpoint_every=2", "validate_every=2", "keep_checkpoints=3"]
"""The corpus has ten words, of which three have an id."""


def bahdanau(words: str, stdin: bytes = b"") -> Done:
    return call(words, PAPER, stdin)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a scored run of each architecture, and links as eflomal would have left them."""
    root = tmp_path_factory.mktemp("analyse")
    corpus = declare(root / "corpus")
    words = [*TINY_RNN, *SHORT, f"data.corpus={corpus}", "run.examples=[house dog tree man]"]
    for system in SYSTEMS:
        run = root / "demo" / "bahdanau2014" / system
        done = bahdanau(f"train demo/{system} {shlex.join(words)} --out {run} --runs {root} --score")
        assert done.status == 0, done.err
    prepared = prepare_data(PAPER.recipe("demo/rnnsearch-50", words), root)
    lines = prepared.lines("test")
    # The French word is the English one in capitals.
    links = [write_links(frozenset((i, i) for i in range(len(line.split())))) for line in lines["source_tokens"]]
    folder = root / "aligned" / folder_name(prepared, "test")
    folder.mkdir(parents=True)
    facts = {"aligner": "by hand", "pairs": 200, "rows": list(range(len(links))), "both": links, "one": links}
    (folder / "links.json").write_text(json.dumps(facts))
    (folder / "dictionary.txt").write_text("house MAISON\n")
    return root


@pytest.fixture
def search(runs: Path) -> Path:
    return runs / "demo" / "bahdanau2014" / "rnnsearch-50"


@pytest.fixture(scope="module")
def analysed(runs: Path) -> Path:
    """The folder of both runs, analysed."""
    folder = runs / "demo" / "bahdanau2014"
    for system in SYSTEMS:
        done = bahdanau(f"analyse {folder / system} --runs {runs}")
        assert done.status == 0, done.err
    return folder


LINES = sentences(12, 5)
STDIN = "".join(f"{line}\n" for line in LINES).encode()


def test_translate_replaces_unk_and_nothing_else(search, tmp_path):
    (tmp_path / "none.txt").write_text("")
    words = {word for line in LINES for word in line.split()}
    (tmp_path / "all.txt").write_text("".join(f"{word}\t{word}-fr\n" for word in words))
    plain, copied, translated = (
        bahdanau(f"translate {search} {option}", STDIN).out.splitlines()
        for option in ("", f"--replace-unk {tmp_path}/none.txt", f"--replace-unk {tmp_path}/all.txt")
    )
    assert any("UNK" in line for line in plain), "the model writes unknown words"
    for source, *made in zip(LINES, plain, copied, translated, strict=True):
        for before, copy, translation in zip(*(line.split() for line in made), strict=True):
            if before == "UNK":
                assert copy in source.split() and translation == f"{copy}-fr"
            else:
                assert before == copy == translation


def test_score_with_replaced_unk_writes_nothing(runs, search, tmp_path):
    (tmp_path / "none.txt").write_text("")
    before = files(runs)
    done = bahdanau(f"score {search} --runs {runs} --replace-unk {tmp_path}/none.txt --json")
    assert done.status == 0, done.err
    assert files(runs) == before, "no result has it"
    (found,) = json.loads(done.out)
    result = json.loads((search / "result.json").read_text())["sets"]["test"]["columns"]
    assert found["before"]["value"] == pytest.approx(result["all"]["bleu"], abs=1e-6), "without it nothing changes"
    assert found["unknown"] > 0 and found["translated"] == found["dictionary_words"] == 0
    text = bahdanau(f"score {search} --runs {runs} --replace-unk {tmp_path}/none.txt").out
    assert f"{found['unknown']:,} UNK" in text and "UNK replaced: BLEU" in text


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("translate {search} --replace-unk {root}/no.txt", "no.txt: No such file or directory; write a source word"),
        ("score {search} --runs {root} --replace-unk {root}/corpus/test.en", "line 1: 3 words where two belong"),
        ("translate {encdec} --replace-unk {root}/empty.txt", "RNNencdec-50 has no attention"),
        (
            "score --hypothesis {root}/a --reference {root}/b --replace-unk {root}/empty.txt",
            "--replace-unk needs a RUN",
        ),
        ("analyse {root}/nothing --runs {root}", "nothing: not a run folder"),
    ],
)
def test_what_cannot_be_done_is_refused(runs, search, words, told):
    (runs / "empty.txt").write_text("")
    places = {"search": search, "encdec": search.with_name("rnnencdec-50"), "root": runs}
    done = bahdanau(words.format(**places), STDIN)
    assert done.status == 2 and told in done.last and "Traceback" not in done.err


def test_sub_words_are_refused(tmp_path):
    corpus = declare(tmp_path / "corpus")
    run, words = tmp_path / "run", shlex.join([*SIZES, "train.steps=2", "evaluate.average=1", f"data.corpus={corpus}"])
    assert call(f"train demo/base-enfr {words} --out {run} --runs {tmp_path}").status == 0
    (tmp_path / "empty.txt").write_text("")
    assert "has sub-words and no UNK" in call(f"translate {run} --replace-unk {tmp_path}/empty.txt").last
    assert "an alignment of words needs whole words" in call(f"analyse {run} --runs {tmp_path}").last


def test_without_the_aligner_the_message_names_it(runs, search, tmp_path):
    try:
        import eflomal  # noqa: F401
    except ImportError:
        pass
    else:
        pytest.skip("eflomal is installed")
    done = bahdanau(f"analyse {search} --runs {tmp_path}")
    assert done.status == 2 and "eflomal is missing" in done.last and "pip install eflomal" in done.last


def test_an_analysis_is_written_shown_and_exported(analysed, search, tmp_path):
    found = read_analysis(search / "analysis.json")
    assert [moment.step for moment in found.course] == [2, 4, 6]
    assert found.agreement.sentences == 20 and found.agreement.one.value == found.agreement.diagonal.value == 0
    assert found.course[-1].alpha == found.agreement.alpha, "the last checkpoint is what is decoded"
    log = [json.loads(line) for line in (search / "log.jsonl").read_text().splitlines()]
    nll = {entry["step"]: entry["dev_nll_per_token"] for entry in log if "dev_nll_per_token" in entry}
    assert [moment.dev_nll_per_token for moment in found.course] == [nll[2], nll[4], nll[6]]
    assert list(found.alignment.attention) == ["2", "4", "6"]
    shape = (len(found.alignment.target), len(found.alignment.source))
    assert {found.alignment.weights(step).shape for step in ("2", "4", "6")} == {shape}
    encdec = read_analysis(search.with_name("rnnencdec-50") / "analysis.json")
    assert encdec.agreement is encdec.replacement is encdec.alignment is None and len(encdec.course) == 3

    section = PAPER.build_tables("demo", analysed, tmp_path / "out")
    names = {"course", "sharpening", "entropy-by-position"}
    assert names <= {figure.name for figure in section.figures}
    export(analysed, tmp_path / "kept")
    assert read_results(tmp_path / "kept").keys() == set(SYSTEMS), "an analysis is no result"
    again = PAPER.build_tables("demo", tmp_path / "kept", tmp_path / "again")
    assert again.markdown == section.markdown
    assert [figure.png for figure in again.figures] == [figure.png for figure in section.figures]


def test_an_analysis_of_other_weights_is_refused(analysed, search, tmp_path):
    export(analysed, tmp_path)
    path = tmp_path / "rnnsearch-50.analysis.json"
    values = json.loads((search / "analysis.json").read_text())
    path.write_text(json.dumps({**values, "weights": {"step": 4}}))
    done = bahdanau(f"tables --scale demo --results {tmp_path} --out {tmp_path}/out")
    assert done.status == 2 and "`analyse` the run again" in done.last
    path.write_text("{}")
    done = bahdanau(f"tables --scale demo --results {tmp_path} --out {tmp_path}/out")
    assert done.status == 2 and f"{path}: missing key" in done.last and "analyse" in done.last


def test_a_piece_of_an_analysis_is_made_once(tmp_path):
    pieces, made = _Pieces(tmp_path / "work"), []

    def make() -> Measure:
        made.append(1)
        return Measure(value=1.5, low=1.0, high=2.0)

    assert pieces.get("one", Measure, make) == pieces.get("one", Measure, make) == Measure(value=1.5, low=1.0, high=2.0)
    assert len(made) == 1, "a stopped analysis goes on from what it has"
    (tmp_path / "work" / "one.json").write_text('{"value": ')
    with pytest.raises(UserError, match="one.json: missing or damaged; delete it, and analyse again"):
        pieces.get("one", Measure, make)


@pytest.mark.parametrize(
    ("count", "chosen"), [(10, [0, 2, 4, 7, 9]), (8, [0, 2, 4, 5, 7]), (5, [0, 1, 2, 3, 4]), (2, [0, 1])]
)
def test_the_panels_are_at_even_distances_and_have_both_ends(count, chosen):
    assert spread_ends(count, 5) == chosen
