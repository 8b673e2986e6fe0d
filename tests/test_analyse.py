"""`analyse`, and UNK replaced by `translate` and `score`, on small runs with unknown words."""

from __future__ import annotations

import json
import shlex
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

import pytest

from common.align.links import write_links
from common.align.record import Analysis, Measure, read_analysis
from common.align.statistical import align_test_set, folder_name
from common.errors import UserError
from common.files import write_json
from common.report.results import export, read_results
from common.result import read_result
from common.run.analyse import _Pieces, spread_ends
from common.run.folder import load_run, prepare_data
from common.run.unknown import _known
from common.typed import plain
from common.yaml_files import read_yaml
from papers.bahdanau2014 import analysis
from papers.bahdanau2014.paper import PAPER
from tests.made_results import cells
from tests.test_faults import TINY_RNN, Done, call, files
from tests.test_run_life import SIZES, declare, sentences

Page: TypeAlias = Callable[..., tuple[str, set[str]]]
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
    often = Counter((root / "corpus" / "train.en").read_text().split()).most_common(1)[0][0]
    for language, word in (("en", often), ("fr", often.upper())):  # test sentences without an unknown word
        with (root / "corpus" / f"test.{language}").open("a") as file:
            file.writelines(f"{' '.join([word] * count)}\n" for count in range(4, 14))
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
        (folder / system / "analysis.0123.work").mkdir()  # of an analysis that was stopped, by other code
        done = bahdanau(f"analyse {folder / system} --runs {runs}")
        assert done.status == 0, done.err
        assert not list((folder / system).glob("analysis.*.work"))
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
            "leave --replace-unk out",
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
    assert found.agreement.sentences == 30 and found.agreement.one.value == found.agreement.diagonal.value == 0
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


def test_an_analysis_of_other_weights_is_left_out(analysed, search, tmp_path):
    """The rest of the page stands, and says what is missing. A damaged file is refused."""
    export(analysed, tmp_path)
    path = tmp_path / "rnnsearch-50.analysis.json"
    values = json.loads((search / "analysis.json").read_text())
    for changed, told in (
        ({"weights": {"step": 4}}, "other weights"),
        ({"data_sha256": "0"}, "other training text"),
        ({"sets_sha256": {**values["sets_sha256"], "test.target.tok": "0"}}, "other test or development text"),
        ({"recipe_sha256": "0"}, "another recipe"),
    ):
        path.write_text(json.dumps({**values, **changed}))
        parts, _ = analysis.build({"table1": {"rows": {}}, "table2": {"rows": {}}}, read_results(tmp_path))
        text = "\n\n".join(parts)
        assert f"`{path.name}` is of {told} than the result beside it, and left out" in text
        assert "### The course of training" in text and "### Alpha beside" not in text, "RNNencdec-50's own is there"


def damage(values: dict, name: str, change: object) -> dict:
    """An analysis with one field of its agreement or its own replaced."""
    if name in values["agreement"]:
        return {**values, "agreement": {**values["agreement"], name: change}}
    return {**values, name: change}


@pytest.mark.parametrize(
    "name, change, told",
    [
        ("recipe", 7.5, None),
        ("offsets", {}, "no count of linked words by distance"),
        ("offsets", {"near": 3}, "no count of linked words by distance"),
        ("looks", "some", "must be a mapping"),
        ("course", [], "the course has no checkpoint"),
        ("alignment", {"line": "a", "source": ["a", "b"], "target": ["c"], "attention": {"x": [[0.5, 0.5]]}}, "1 x 2"),
        ("alignment", {"line": "a", "source": ["a", "b"], "target": ["c"], "attention": {"6": [[0.5]]}}, "1 x 2"),
    ],
)
def test_a_damaged_analysis_is_refused(analysed, search, tmp_path, name, change, told):
    values = json.loads((search / "analysis.json").read_text())
    path = tmp_path / "analysis.json"
    path.write_text(json.dumps(damage(values, name, change)))
    if told is None:
        assert read_analysis(path), "text may be a number"
        return
    with pytest.raises(UserError, match=f"^{path}: .*{told}.*run `analyse` on the run again, or delete the file$"):
        read_analysis(path)


@pytest.mark.parametrize(
    "change",
    [{"rows": [0, 1]}, {"one": ["0-0"]}, {"rows": [9999] * 30}, {"both": ["0-900"] * 30}, {"one": ["900-0"] * 30}],
)
def test_damaged_links_are_refused_in_one_line(runs, search, tmp_path, change):
    shutil.copytree(runs / "aligned", tmp_path / "aligned")
    shutil.copytree(runs / "data", tmp_path / "data")
    (path,) = (tmp_path / "aligned").glob("*/links.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    recipe = load_run(PAPER, search).recipe
    with pytest.raises(UserError, match="links.json: (missing or )?damaged.* delete .* and analyse again"):
        align_test_set(prepare_data(recipe, tmp_path), recipe, tmp_path, "test")


def test_a_damaged_checkpoint_is_found_before_anything_is_decoded(runs, search, tmp_path):
    other = tmp_path / "rnnsearch-50"
    shutil.copytree(search, other)
    (other / "analysis.json").unlink(missing_ok=True)
    oldest = min((other / "checkpoints").glob("*.safetensors"))
    oldest.write_bytes(oldest.read_bytes()[:100])
    done = bahdanau(f"analyse {other} --runs {runs}")
    assert done.status == 2 and f"{oldest.name}: damaged; delete it, and the course leaves it out" in done.last
    assert not list(other.glob("analysis.*"))


def test_an_analysis_by_another_search_is_refused(runs, search, tmp_path):
    other = tmp_path / "rnnsearch-50"
    shutil.copytree(search, other)
    assert bahdanau(f"analyse {other} --runs {runs} decode.beam=2").status == 0
    assert read_results(tmp_path)["rnnsearch-50"].stale == "another recipe"


def test_no_unk_is_of_the_same_search(runs, search, tmp_path):
    (tmp_path / "none.txt").write_text("")
    score = f"--runs {runs} --replace-unk {tmp_path}/none.txt --json"
    result = json.loads((search / "result.json").read_text())
    columns = result["sets"]["test"]["columns"]
    (found,) = json.loads(bahdanau(f"score {search} {score}").out)
    assert found["known"]["forbidden"]["value"] == pytest.approx(columns["no_unk"]["bleu"], abs=1e-6)
    shutil.copytree(search, tmp_path / "run")
    columns["all"]["statistics"][0] = columns["all"]["statistics"][-1]  # as if it had been translated otherwise
    (tmp_path / "run" / "result.json").write_text(json.dumps(result))
    for words in (f"{search} {score} decode.beam=2", f"{tmp_path}/run {score}"):
        done = bahdanau(f"score {words}")
        (found,) = json.loads(done.out)
        assert "known" not in found
        assert "no column No UNK of test by the same search" in done.err


def test_all_is_compared_on_the_sentences_of_no_unk(runs, search, tmp_path):
    shutil.copytree(search, tmp_path / "run")
    run, result = load_run(PAPER, tmp_path / "run"), json.loads((search / "result.json").read_text())
    lines, columns = prepare_data(run.recipe, runs).lines("test"), result["sets"]["test"]["columns"]
    sides = zip(lines["source_tokens"], lines["reference_tokens"], strict=True)
    english, french = ({*words.words} for words in (run.text.source_vocabulary, run.text.target_vocabulary))
    rows = [i for i, (ours, theirs) in enumerate(sides) if {*ours.split()} <= english and {*theirs.split()} <= french]
    assert len(rows) == columns["no_unk"]["sentences"] < columns["all"]["sentences"]
    for row, counts in zip(rows, columns["no_unk"]["statistics"], strict=True):  # as if it had never written UNK there
        columns["all"]["statistics"][row] = counts
    (run.path / "result.json").write_text(json.dumps(result))
    found = _known(run, "test", lines, read_result(run.path / "result.json").sets["test"].columns["all"].counts)
    assert found.sentences == len(rows) and found.allowed == found.forbidden and found.forbidden.value > 0
    assert (found.gain.value, found.gain.low, found.gain.high) == (0, 0, 0)


def test_without_checkpoints_there_is_no_course(runs, search, tmp_path):
    other = tmp_path / "rnnsearch-50"
    shutil.copytree(search, other)
    assert bahdanau(f"average {other}").status == 0
    for path in (other / "checkpoints").glob("*.safetensors"):
        path.unlink()
    done = bahdanau(f"analyse {other} --runs {runs}")
    assert done.status == 2 and "no checkpoint is left" in done.last and "Traceback" not in done.err


def test_the_pieces_are_of_one_recipe_and_what_else_they_depend_on(search):
    folders = {
        _Pieces.of(load_run(PAPER, search, words), others).folder
        for words in ((), ("decode.beam=1",))
        for others in (["text", None], ["text", "scores"])
    }
    assert len(folders) == 4


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


@pytest.fixture
def page(analysed, tmp_path) -> Page:
    """What builds the page's parts and figures from changed analyses of RNNsearch-50, by system."""
    reported = read_yaml(PAPER.root / "reported.yaml")["tables"]
    result = read_results(analysed)["rnnsearch-50"].file

    def build(**changed: Analysis) -> tuple[str, set[str]]:
        folder = tmp_path / "-".join(changed)
        for system, one in changed.items():
            write_json(folder / f"{system}.json", plain(result))
            write_json(folder / f"{system}.analysis.json", plain(one))
        parts, drawn = analysis.build(reported, read_results(folder))
        return "\n\n".join(parts), {figure.name for figure in drawn}

    return build


def sharp(one: Analysis, *steps: int) -> Analysis:
    """Make the alignments of some checkpoints sharp, and better than the diagonal, which is wrong everywhere."""
    good, bad, none = (Measure(value=value, low=value, high=value) for value in (0.8, 1.0, 0.0))
    course = tuple(
        replace(moment, alpha=replace(moment.alpha, sharp=good if moment.step in steps else none, error_rate=none))
        for moment in one.course
    )
    return replace(one, course=course, agreement=replace(one.agreement, diagonal=bad))


@pytest.mark.parametrize(("steps", "told"), [((2, 4, 6), "by 2"), ((4, 6), "4"), ((), "not after 6")])
def test_the_oldest_checkpoint_says_only_by_when_alignments_are_sharp(search, page, steps, told):
    one = sharp(read_analysis(search / "analysis.json"), *steps)
    (row,) = cells(page(kept=one)[0], "### The course of training")
    assert row["sharp after"] == told and row["hours then"].startswith("by ") == told.startswith("by ")


def test_models_are_beside_the_links_with_which_they_are_compared(search, page):
    one = read_analysis(search / "analysis.json")
    straight, other = (replace(one.agreement, links_sha256=str(value), pairs=7 + value,
                               diagonal=Measure(value=value, low=value, high=value)) for value in (0, 1))  # fmt: skip
    same = page(a=replace(one, agreement=straight), b=replace(one, agreement=straight))[0]
    assert [row["model"] for row in cells(same, "### Alpha beside")].count("the diagonal") == 1
    assert "do not compare" not in same
    mixed = page(**{name: replace(one, title=name, agreement=agreement)
                    for name, agreement in (("a", straight), ("b", other), ("c", straight))})[0]  # fmt: skip
    rows = [(row["model"], row["AER of alpha (95%)"]) for row in cells(mixed, "### Alpha beside")]
    assert [model for model, _ in rows if len(model) == 1] == ["a", "c", "b"]
    assert rows[2] == ("the diagonal", "0.0% (0.0 to 0.0)") and rows[5] == ("the diagonal", "100.0% (100.0 to 100.0)")
    assert "a, c: 30 sentences" in mixed and "b: 30 sentences" in mixed and "8 pairs" in mixed
    assert "do not compare" in mixed


def test_the_page_tells_the_choice_of_sentences_from_the_search(search, page):
    one = read_analysis(search / "analysis.json")
    same, still = (Measure(value=value, low=value, high=value) for value in (30.0, 12.5))
    gain = replace(one.replacement.gain, value=4.0, low=1.0, high=7.0)
    known = replace(one.replacement.known, allowed=same, forbidden=replace(same, value=34.0), gain=gain)
    text = page(kept=replace(one, replacement=replace(one.replacement, before=still, known=known)))[0]
    (row,) = cells(text, "### UNK replaced")
    assert row["All, on No UNK's sentences (95%)"] == "30.00 (30.00 to 30.00)"
    assert row["gain by forbidding UNK (95%)"] == "+4.00 (+1.00 to +7.00)"
    assert "the choice of sentences alone: RNNsearch-50 17.50 of 21.50 BLEU" in text
    none = page(other=replace(one, replacement=replace(one.replacement, known=None)))[0]
    assert "choice of sentences" not in none and "### UNK replaced" in none


def test_too_few_sentences_have_no_entropy_by_position(search, page):
    one = read_analysis(search / "analysis.json")
    few = replace(one, agreement=replace(one.agreement, positions=(), looks={}))
    assert page(kept=few)[1] == {"course", "sharpening"}
    assert "entropy-by-position" in page(kept=few, other=one)[1]


@pytest.mark.parametrize(
    ("count", "chosen"), [(10, [0, 2, 4, 7, 9]), (8, [0, 2, 4, 5, 7]), (5, [0, 1, 2, 3, 4]), (2, [0, 1])]
)
def test_the_panels_are_at_even_distances_and_have_both_ends(count, chosen):
    assert spread_ends(count, 5) == chosen
