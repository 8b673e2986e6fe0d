"""`score` on the command line: each option does something in each way to call it, or is refused in one line."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from common.run.cli import main
from papers.vaswani2017.paper import PAPER

OUTPUTS = ["Die EU-Regierung kam am 3. Mai an.", "Es gibt Katzen, Hunde und Vögel.", "Er sagt: „Nein“."]
REFERENCES = ["Die EU-Kommission kam am 3. Mai an.", "Es gibt Katzen, Hunde und Vögel.", "Sie sagt: „Nein“."]
SOURCES = ["The government arrived on 3 May.", "There are cats, dogs and birds.", 'He says: "No".']
WORSE = ["Die Kommission kam.", "Es gibt Hunde und Vögel.", "Sie sagt nichts."]
LINE = "BLEU = 28.74, 59.5/34.3/22.2/15.0 (BP=1.000, ratio=1.029, hyp_len=66369, ref_len=64504)"
SHORT = "BLEU = 28.74, 59.5/34.3/22.2/15.0 (BP=1.000)"

WAYS = {
    "run": "RUN",
    "recover": ("--recover", LINE),
    "recover with references": ("--recover", SHORT, "--reference", "reference"),
    "laboratory": ("--laboratory", "--hypothesis", "hypothesis", "--reference", "reference"),
    "files": ("--hypothesis", "hypothesis", "--reference", "reference"),
}
"""How `score` is called, with all that it then needs."""
OPTIONS = {
    "--hypothesis": ("hypothesis",),
    "--reference": ("reference",),
    "--source": ("source",),
    "--against": ("against",),
    "--recipe": ("multi30k/base",),
    "--target-language": ("fr",),
    "--lowercase": (),
    "text.tokeniser=moses-2014": (),
    "--laboratory": (),
    "--figure": ("steps.png",),
    "--recover": (LINE,),
    "--replace-unk": ("dictionary",),
    "--runs": ("elsewhere",),
    "--json": (),
}
"""Every option of `score`, and a word that stands for those of a recipe, with an argument."""
TABLE = """
                           run  recover  recover with references  laboratory  files
--hypothesis               no   no       no                       -           -
--reference                no   -        -                        -           -
--source                   no   no       no                       no          yes
--against                  no   no       no                       yes         yes
--recipe                   no   no       no                       no          yes
--target-language          no   no       yes                      yes         yes
--lowercase                no   no       no                       no          yes
text.tokeniser=moses-2014  -    no       no                       no          yes
--laboratory               no   no       no                       -           -
--figure                   no   no       no                       yes         no
--recover                  no   -        -                        no          no
--replace-unk              -    no       no                       no          no
--runs                     -    no       no                       no          no
--json                     -    yes      yes                      yes         yes
"""
"""Which options do something in which way of calling `score`. `-`: the way has it already, is another way with it, or
needs a trained run (tests/test_run_life.py, tests/test_analyse.py)."""


def rows() -> list[tuple[str, str, str]]:
    """Option, way and answer of each cell of the table."""
    _, header, *lines = TABLE.rstrip("\n").split("\n")
    found = []
    for line in lines:
        option, *answers = line.split()
        found += [(option, way, answer) for way, answer in zip(WAYS, answers, strict=True) if answer != "-"]
    assert header.split() == " ".join(WAYS).split() and [line.split()[0] for line in lines] == [*OPTIONS]
    return found


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with the files of WAYS and OPTIONS."""
    texts = {"hypothesis": OUTPUTS, "reference": REFERENCES, "source": SOURCES, "against": WORSE}
    for name, lines in texts.items():
        (tmp_path / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    (tmp_path / "dictionary").write_text("")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The line of an error. A refusal by argparse ends the process, which the others do not."""
    try:
        assert main(PAPER, ["score", *words]) == 2
    except SystemExit as end:
        assert end.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


@pytest.mark.parametrize(("option", "way", "answer"), rows())
def test_each_option_changes_what_comes_out_or_is_refused(
    option: str, way: str, answer: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call = ["score", *([WAYS[way]] if way == "run" else WAYS[way])]
    more = [option, *OPTIONS[option]]
    if answer == "no":
        assert option in refused([*call[1:], *more], capsys)
        assert not (place / "steps.png").exists() and not (place / "elsewhere").exists()
        return
    assert main(PAPER, call) == 0
    before = capsys.readouterr().out
    assert main(PAPER, [*call, *more]) == 0
    after = capsys.readouterr().out
    assert after != before or (place / "steps.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "--hypothesis and --reference"),
        (["--laboratory", "--hypothesis", "hypothesis"], "--reference F"),
        (["--reference", "reference"], "--hypothesis F"),
        (["--recover", ""], "--recover"),
        (["--recover", LINE, "--reference", "dictionary"], "dictionary: has no word"),
        (["--recover", LINE, "--reference", "blank"], "blank: has no word"),
        (["--recover", "BLEU = 27"], "no score with four precisions"),
        ([*WAYS["files"], "--recipe", ""], "--recipe"),
        ([*WAYS["files"], "--target-language", "german"], "`german` is no language code"),
        ([*WAYS["files"], "decode.beam=1"], "leave decode.beam=1 out"),
        ([*WAYS["files"], "data.target=fr", "--target-language", "de"], "not both"),
        ([*WAYS["files"], "text.lowercase=false", "--lowercase"], "not both"),
        ([*WAYS["laboratory"], "--figure", "steps.jpg"], "name it steps.png"),
        (["--hypothesis", "hypothesis", "--reference", "blank"], "blank: has no word"),
        (["--laboratory", "--hypothesis", "hypothesis", "--reference", "blank"], "blank: has no word"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    words: list[str], message: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "blank").write_text("\n \n\t\n")
    assert message in refused(words, capsys)


@pytest.mark.parametrize("way", [(), ("--laboratory",)])
def test_an_output_without_a_word_is_warned_of(
    way: tuple[str, ...], place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "hypothesis").write_text("\n\n\n")
    assert main(PAPER, ["score", *way, "--hypothesis", "hypothesis", "--reference", "reference"]) == 0
    assert "warning: hypothesis: has no word" in capsys.readouterr().err


def test_a_language_without_rules_is_said_once_and_everywhere(
    place: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """sacreBLEU would say for each score that another tokeniser fits Japanese."""
    for language, said in (("xx", "Moses knows no abbreviations of `xx`"), ("ja", "of `ja`")):
        for way in ("laboratory", "recover with references"):
            assert main(PAPER, ["score", *WAYS[way], "--target-language", language]) == 0
            shown = capsys.readouterr()
            assert shown.out.count(said) == 1 and "Consider" not in shown.err + caplog.text


def test_what_a_line_says_is_json(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The lengths by hand: 8 words in the first reference (`3.` is one), 8 and 7 in the others; a hyphen adds two."""
    line = "BLEU = 28.94, 59.5/34.3/22.2/15.0 (BP=1.000, ref_len=23)"
    assert main(PAPER, ["score", "--recover", line, "--reference", "reference", "--json"]) == 1
    found = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert found["agrees"] is False and found["printed"]["reference length"] == "23"
    (relation,) = found["relations"]
    assert relation["printed"] == "28.94" and relation["low"] < relation["high"] < 28.94 and not relation["agrees"]
    assert found["suspects"]["BLEU"] == {key: relation[key] for key in ("low", "high")}
    assert found["reference_lengths"]["Moses of 2016"] == 23 and "Moses of 2016" in found["as_printed"]
    assert found["reference_lengths"]["Moses of 2016, compounds split"] == 25


@pytest.mark.parametrize(
    ("line", "more", "status"),
    [
        (LINE, (), 0),
        (SHORT, ("--reference", "reference"), 0),
        (SHORT.replace(")", ", ref_len=23)"), ("--reference", "reference"), 0),
        (LINE.replace("28.74", "28.94"), (), 1),
        (SHORT.replace("28.74", "28.94"), ("--reference", "reference"), 1),
        (LINE, ("--reference", "reference"), 1),
        ("BLEU = 27", (), 2),
    ],
    ids=["agrees", "no length", "a length that fits", "disagrees", "disagrees, no length", "no such length", "no line"],
)
def test_a_script_sees_whether_a_line_holds(
    line: str, more: tuple[str, ...], status: int, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The references have 23 words by Moses, and none of the tokenisations makes 64,504."""
    assert main(PAPER, ["score", "--recover", line, *more, "--json"]) == status
    out = capsys.readouterr().out
    assert not out if status == 2 else json.loads(out)["holds"] == (status == 0)


@pytest.mark.parametrize(
    ("way", "steps"), [("files", 3 + 4 * 4), ("laboratory", 19 * 5 + 16)], ids=["files", "laboratory"]
)
def test_every_step_of_scoring_is_counted(
    way: str, steps: int, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of two outputs: tokens, a score and an interval of each, and the differences. The files have four scores."""
    monkeypatch.setattr("common.progress.QUIET_SECONDS", 0.0)
    assert main(PAPER, ["score", *WAYS[way], "--against", "against"]) == 0
    bars = [
        line for line in re.split(r"[\r\n]", capsys.readouterr().err) if line.startswith(("scoring:", "laboratory:"))
    ]
    assert f" {steps}/{steps} " in bars[-1].replace(".0", ""), bars[-1]
