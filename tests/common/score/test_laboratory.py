"""The laboratory: each protocol by hand on one pair, steps that lead from one to another, real references and tools."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from sacrebleu.metrics.chrf import CHRF
from sacrebleu.metrics.ter import TER
from sacremoses import MosesTokenizer

from common.corpus.lines import open_text, parallel_lines
from common.errors import UserError
from common.report.laboratory import difference, waterfall_table
from common.run.cli import _score_lines, main
from common.score.bleu import split_compounds, tokenised_bleu
from common.score.chrf_ter import chrf, ter
from common.score.laboratory import (
    FACTORS,
    PROTOCOLS,
    SETTINGS,
    Texts,
    laboratory,
    perl_lower,
    reference_lengths,
    waterfall,
)
from common.score.significance import paired_bootstrap, paired_difference
from papers.vaswani2017.paper import PAPER

REFERENCES = [
    "Die EU-Kommission sagte: „Das ist gut so“, und ging.",
    "Über 3,5 Millionen Ski-Fahrer kamen im Jahr 2014, so Dr. Meier.",
    "Es gibt Katzen, Hunde, Vögel usw.",
]
OUTPUTS = [
    'Die EU-Regierung sagte: "Das ist gut so", und ging.',
    "über 3,5 Millionen Ski-Läufer kamen im Jahr 2014, so Dr. Meier.",
    "Es gibt Katzen, Hunde und Vögel usw.",
]
WORSE = ["Die Kommission sagte, das sei gut.", "3,5 Millionen kamen im Jahr 2014.", "Es gibt Hunde usw."]


@pytest.fixture(scope="module")
def texts() -> Texts:
    return Texts(OUTPUTS, REFERENCES, "de")


def words(texts: Texts, protocol: str) -> list[int]:
    """Matches, words of the output and words of the references by a protocol."""
    return PROTOCOLS[protocol].score(texts).statistics.sum(axis=0)[[0, 4, 9]].tolist()


# Output by Moses: Die EU-Regierung sagte : &quot; Das ist gut so &quot; , und ging . (14; the references' likewise)
#   über 3,5 Millionen Ski-Läufer kamen im Jahr 2014 , so Dr. Meier . (13), Es gibt Katzen , Hunde und Vögel usw. (8)
# References: 14, 13 and Es gibt Katzen , Hunde , Vögel usw. (8).
@pytest.mark.parametrize(
    ("protocol", "expected"),
    [
        # Not matching: EU-Regierung, two quotes; über, Ski-Läufer; und.
        ("moses-2016", [29, 35, 35]),
        # EU and Ski and both signs match now, of two more words for each hyphen on both sides.
        ("moses-2016-split", [33, 39, 39]),
        ("moses-2016-split-quotes", [35, 39, 39]),
        ("moses-2016-split-quotes-punctuation", [35, 39, 39]),
        # `über` stays apart: the script lower-cases ASCII letters only.
        ("moses-2016-lc", [29, 35, 35]),
        # `usw` and its full stop are two words.
        ("moses-2019", [30, 36, 36]),
        # a @-@ b is what splitting makes, by other signs.
        ("moses-2019-a", [34, 40, 40]),
        # 13a leaves „Das and so“ whole, and splits Dr. and usw. in two. It does not split hyphens between letters.
        ("13a", [29, 37, 35]),
        # Lower-casing is Python's here.
        ("13a-lc", [30, 37, 35]),
        # „Das, so“, 2014, and the like are not split without a tokeniser.
        ("plain", [20, 27, 26]),
    ],
)
def test_words_by_hand(texts: Texts, protocol: str, expected: list[int]) -> None:
    assert words(texts, protocol) == expected


def test_each_protocol_has_a_signature_of_its_own_and_an_interval_around_its_score(texts: Texts) -> None:
    scores = laboratory(texts)
    assert [*scores] == [*PROTOCOLS]
    assert len({score.signature for score in scores.values()}) == len(PROTOCOLS)
    for score in scores.values():
        sums = score.statistics.sum(axis=0)
        assert float(score.of_sums(sums)) == pytest.approx(score.value)
        assert score.of_sums(np.stack([sums, sums])) == pytest.approx([score.value] * 2)
    assert [key for key, score in scores.items() if score.lower_is_better] == ["ter"]


def test_the_steps_lead_from_one_protocol_to_another(texts: Texts) -> None:
    fall = waterfall(texts)
    assert len(fall.settings) == SETTINGS
    level, levels = fall.start + fall.metric, []
    for factor in FACTORS:
        level += fall.gain(factor)
        levels.append(level)
        low, high = fall.range(factor)
        assert low <= fall.gain(factor) <= high
    reached = [
        PROTOCOLS[key].score(texts).value for key in ("moses-2016", "moses-2016-split", "moses-2016-split-quotes")
    ]
    assert levels[:3] == pytest.approx(reached)
    assert fall.start == pytest.approx(PROTOCOLS["13a"].score(texts).value)
    assert levels[-1] == pytest.approx(fall.settings["+".join(FACTORS)])
    rows = waterfall_table([fall]).splitlines()
    assert len(rows) == 2 + 2 + len(FACTORS) and rows[-1].endswith(f"{levels[-1]:.2f} |")


def test_lower_case_is_that_of_perl() -> None:
    if not shutil.which("perl"):
        pytest.skip("Perl is not installed")
    lines = ["ÄÖÜ Über ÉCOLE", "ASCII And &QUOT;", "ǅ İ Σ 𝐀"]
    output = subprocess.run(
        ["perl", "-pe", "$_ = lc"], input="\n".join(lines).encode(), capture_output=True, check=True
    )
    assert [perl_lower(line) for line in lines] == output.stdout.decode().split("\n")


def test_punctuation_of_the_output_becomes_ascii() -> None:
    texts = Texts(["„Ja“ ”nein” ’so’ … （１） 。Ende"], ["x"], "de")
    assert texts.ascii_hypotheses == ['„Ja" "nein" \'so\' ... (") . Ende']


def test_chrf_and_ter_are_those_of_sacrebleu() -> None:
    for ours, metric in (
        (chrf(OUTPUTS, REFERENCES), CHRF()),
        (chrf(OUTPUTS, REFERENCES, 2), CHRF(word_order=2)),
        (ter(OUTPUTS, REFERENCES), TER()),
    ):
        theirs = metric.corpus_score(OUTPUTS, [REFERENCES])
        assert ours.value == pytest.approx(theirs.score)
        assert ours.signature == f"{theirs.name}|{metric.get_signature()}"


def test_the_paired_test_is_one_for_all_metrics() -> None:
    """For BLEU it is the paired bootstrap of the papers' claims. For TER fewer edits are better."""
    one, other = ([line for line in lines for _ in range(20)] for lines in (OUTPUTS, WORSE))
    references = [line for line in REFERENCES for _ in range(20)]
    a, b = (tokenised_bleu(lines, references, tokenization="") for lines in (one, other))
    assert paired_difference(a, b) == paired_bootstrap(a.statistics, b.statistics)
    for metric in (chrf, ter):
        forth, back = (metric(lines, references) for lines in (one, other))
        found = paired_difference(forth, back)
        assert found.value == pytest.approx(forth.value - back.value)
        assert found.low < found.value < found.high and found.p == 0.0
        assert paired_difference(back, forth).p == 1.0 and paired_difference(forth, forth).p == 1.0


def test_lengths_by_hand() -> None:
    found = reference_lengths(["Das EU-Amt „sagt“ usw."], "de")
    assert found["Moses of 2014"] == found["Moses of 2016"] == 6  # Das EU-Amt „ sagt “ usw.
    assert found["Moses of 2019"] == 7
    assert found["Moses of 2016, compounds split"] == found["Moses -a of 2016"] == 8
    assert (found["sacreBLEU, 13a"], found["sacreBLEU, intl"], found["not tokenised"]) == (5, 9, 4)


PUBLISHED = {
    "de": {
        "sacreBLEU, 13a": 62_688,
        "sacreBLEU, intl": 64_676,
        "Moses of 2014": 63_078,
        "Moses of 2016": 63_078,
        "Moses of 2014, compounds split": 64_496,
        "Moses of 2016, compounds split": 64_496,
        "Moses of 2019, compounds split": 64_504,
        "Moses -a of 2019": 64_506,
    },
    "fr": {"sacreBLEU, 13a": 77_306, "Moses of 2016": 81_194},
}
"""Lengths of newstest2014's references that others printed: sacreBLEU, multi-bleu.perl and fairseq's logs."""


@pytest.mark.parametrize("language", PUBLISHED)
def test_lengths_of_newstest2014_tell_which_script_counted(language: str, mirror: Path) -> None:
    pair = {"de": "deen", "fr": "fren"}[language]
    member = f"test-full/newstest2014-{pair}-ref.{language}.sgm"
    with open_text(mirror / "wmt14-real" / "test-full.tgz", member) as stream:
        (lines,) = parallel_lines([stream], [member])
    found = reference_lengths(lines, language)
    assert {name: found[name] for name in PUBLISHED[language]} == PUBLISHED[language]
    moses = MosesTokenizer(lang=language)  # sacremoses counts as the scripts of 2014 and 2016
    tokens = [moses.tokenize(line, return_str=True) for line in lines]
    assert sum(len(line.split()) for line in tokens) == found["Moses of 2016"]
    assert sum(len(split_compounds(line).split()) for line in tokens) == found["Moses of 2016, compounds split"]


# ----------------------------------------------------------------------------------------------------------------
# On the command line


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    for name, lines in (("hypothesis", OUTPUTS), ("reference", REFERENCES), ("against", WORSE)):
        (tmp_path / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return {name: str(tmp_path / name) for name in ("hypothesis", "reference", "against")}


def test_a_file_under_every_protocol(files: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    figure = tmp_path / "waterfall.png"
    words = [word for name, path in files.items() for word in (f"--{name}", path)]
    assert main(PAPER, ["score", "--laboratory", *words, "--figure", str(figure)]) == 0
    out = capsys.readouterr().out
    assert all(f"| {protocol.label} " in out for protocol in PROTOCOLS.values()) and "| TER (lower" in out
    assert all(text in out for text in FACTORS.values()) and "difference (95%), p" in out
    assert figure.read_bytes().startswith(b"\x89PNG")
    assert main(PAPER, ["score", "--laboratory", *words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {*found["scores"]} == {*found["differences"]} == {*PROTOCOLS}
    assert found["differences"]["ter"]["difference"] < 0 < found["differences"]["13a"]["difference"]


def test_two_files_are_compared(files: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    words = [word for name, path in files.items() for word in (f"--{name}", path)]
    assert main(PAPER, ["score", *words]) == 0
    assert "  sacrebleu minus that of --against: +" in capsys.readouterr().out
    assert main(PAPER, ["score", *words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["differences"]
    assert {*found} == {"tokenised", "tokenised_compound", "tokenised_compound_quotes", "sacrebleu"}


def test_a_printed_line_is_checked_and_its_tokens_are_named(
    files: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    line = "BLEU = 27.31, 59.2/33.2/20.8/13.5 (BP=1.000, ref_len=39)"
    assert main(PAPER, ["score", "--recover", line, "--reference", files["reference"]]) == 0
    out = capsys.readouterr().out
    assert "the line agrees with itself" in out
    fitting = (
        "Moses of 2014, compounds split",
        "Moses of 2016, compounds split",
        "Moses -a of 2014",
        "Moses -a of 2016",
    )
    assert out.endswith(f"as printed: {', '.join(fitting)}\n")


def test_unequal_files_are_refused() -> None:
    with pytest.raises(UserError, match="the hypotheses has 3 lines but the references has 2"):
        Texts(OUTPUTS, REFERENCES[:2], "de")


def test_no_chance_is_printed_as_nothing() -> None:
    """Of a thousand resamples the least p that is not 0 is 0.001."""
    found = {"difference": 1.0, "low": 0.5, "high": 1.5, "p": 0.0}
    assert difference(found).endswith("p < 0.001") and difference(found | {"p": 0.001}).endswith("p 0.001")
    scores = {"language": "de", "recipe": "", "tokeniser": "", "notes": [], "differences": {"BLEU": found}}
    assert "p < 0.001 that it is not better" in "\n".join(_score_lines(scores))
