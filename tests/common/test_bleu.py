"""BLEU against the printed figures of multi-bleu.perl, against torchtext and against sacreBLEU's own score."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sacrebleu
from sacremoses import MosesTokenizer

from common.errors import UserError
from common.eval.bleu import (
    Score,
    ascii_quotes,
    bleu,
    bleu_of_sums,
    sacre_bleu,
    split_compounds,
    tokenised_bleu,
)

FIXTURE = Path(__file__).parents[1] / "fixtures" / "multi_bleu.json"
CASES = json.loads(FIXTURE.read_text(encoding="utf-8"))["cases"]
each_case = pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])


def score(case: dict[str, Any]) -> Score:
    return tokenised_bleu(
        case["hypotheses"],
        case["references"],
        lowercase=case["lowercase"],
        compound_split=case["compound_split"],
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
        command = ["perl", os.environ["MULTI_BLEU_PERL"], *["-lc"] * case["lowercase"], str(reference)]
        printed = subprocess.run(command, input=hypotheses, capture_output=True).stdout.decode()
        assert printed.rstrip("\n") == case["printed"], case["name"]


# torchtext has no such options and leaves the splitting into words, here Python's, to its caller
@pytest.mark.parametrize(
    "case", [c for c in CASES if not (c["lowercase"] or c["compound_split"] or "no-break" in c["name"])]
)
def test_agrees_with_torchtext(case: dict[str, Any]) -> None:
    metrics = pytest.importorskip("torchtext.data.metrics")
    hypotheses = [line.split() for line in case["hypotheses"]]
    references = [[line.split()] for line in case["references"]]
    # torchtext computes in single precision and returns a fraction
    assert score(case).value == pytest.approx(100 * metrics.bleu_score(hypotheses, references), abs=1e-3)


def test_statistics_counted_by_hand() -> None:
    statistics = tokenised_bleu(["a b a b c", ""], ["a b a d", "e"]).statistics
    # matches: a a b / ab ba / aba / none, of 5 / 4 / 3 / 2 n-grams
    assert statistics.tolist() == [[3, 2, 1, 0, 5, 4, 3, 2, 5, 4], [0, 0, 0, 0, 0, 0, 0, 0, 0, 1]]
    assert statistics.dtype == np.int64


def test_bleu_by_hand() -> None:
    sums = np.array([8, 6, 4, 2, 10, 9, 8, 7, 10, 12])
    expected = 100 * np.exp(1 - 12 / 10) * (8 / 10 * 6 / 9 * 4 / 8 * 2 / 7) ** 0.25
    assert bleu(np.array([sums // 2, sums - sums // 2])) == pytest.approx(expected)
    assert bleu_of_sums(np.stack([sums, 2 * sums, 0 * sums])) == pytest.approx([expected, expected, 0.0])


def test_nothing_but_empty_hypotheses() -> None:
    result = tokenised_bleu(["", ""], ["a b", "c"])  # here multi-bleu.perl stops with a division by zero
    assert result.value == 0.0
    assert result.detail == "BLEU = 0.00, 0.0/0.0/0.0/0.0 (BP=0.000, ratio=0.000, hyp_len=0, ref_len=3)"


def test_signature_shows_every_option() -> None:
    text = ["a b c d"]
    version = sacrebleu.__version__
    assert tokenised_bleu(text, text).signature == (
        f"multi-bleu|nrefs:1|case:mixed|tok:moses-escaped|split:no|quotes:no|smooth:none|version:sacrebleu-{version}"
    )
    changed = tokenised_bleu(
        text, text, lowercase=True, compound_split=True, reference_quotes=True, tokenization="words"
    )
    assert changed.signature == (
        "multi-bleu|nrefs:1|case:lc-ascii|tok:words|split:hyphen|quotes:ref-ascii|smooth:none"
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
    assert tokenised_bleu(plain, quoted, reference_quotes=True).value == pytest.approx(100)
    assert tokenised_bleu(quoted, quoted, reference_quotes=True).value < 100
    assert tokenised_bleu(plain, quoted).value < 100


def test_sacre_bleu_is_sacrebleu_with_its_signature() -> None:
    hypotheses = ["The cat, it sat on the mat.", "Nobody came to the party yesterday!"]
    references = ["The cat sat on the mat, it did.", "Nobody came to the Party yesterday."]
    result = sacre_bleu(hypotheses, references)
    assert result.value == sacrebleu.corpus_bleu(hypotheses, [references]).score
    assert result.signature == f"BLEU|nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:{sacrebleu.__version__}"
    assert result.value == pytest.approx(bleu(result.statistics))
    lower = sacre_bleu(hypotheses, references, lowercase=True, tokenize="intl")
    assert lower.value > result.value
    assert "case:lc" in lower.signature and "tok:intl" in lower.signature


def test_sacre_bleu_refuses_an_unknown_tokeniser() -> None:
    with pytest.raises(UserError, match="no tokeniser '13b'; choose one of .*13a"):
        sacre_bleu(["a"], ["a"], tokenize="13b")


def test_options_matter_in_the_fixtures() -> None:
    """Guards the golden file: a case whose option changes nothing would test nothing."""
    assert named("french")["printed"] != named("french, -lc: folds I and not the accented A")["printed"]
    assert named("german")["printed"] != named("german, compounds split")["printed"]
    spaced = named("no-break spaces do not separate words")
    assert sum(len(line.split()) for line in spaced["references"]) != score(spaced).statistics[:, 9].sum()
