"""Models in the formats of CTranslate2 and transformers compute what ours compute."""

from __future__ import annotations

import contextlib
import io
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from common.contract import Batch, pad
from common.decode.beam import length_penalty
from common.decode.translate import decode_ids
from common.errors import UserError
from common.ids import EOS, START
from common.run.export import export_run, load
from common.text.vocabulary import Vocabulary
from papers.vaswani2017.formats import CTranslate2, spellings
from papers.vaswani2017.model import LAYER_NORM_EPSILON, Transformer
from papers.vaswani2017.paper import PAPER
from tests import made_results as made
from tests.made_runs import LINES, drawn, taught, write_run

SIZES = "N=2 d_model=32 d_ff=48 h=2 d_k=16 d_v=16 vocabulary_size=60 bpe_merges=12 evaluate.average=2".split()
MODELS = {
    "base": [],
    "biases": ["attention_bias=true"],
    "learned": ["positions=learned", "learned_positions=20"],
    "authors": ["sinusoids=halves", "target_spaces=3", "embedding_matrices=3", "attention_bias=true"],
}
MARIAN = ("base", "biases")
"""Models that MarianMT can hold."""
Exported = tuple[Path, Transformer]


def exported(folder: Path, form: str, words: Sequence[str], model: nn.Module | None = None) -> Exported:
    """Export a made run. Return the folder and the model."""
    recipe = PAPER.recipe("demo/base", [*SIZES, *words])
    model = model or drawn(PAPER, recipe)
    write_run(PAPER, recipe, folder / "run", model)
    export_run(PAPER, folder / "run", folder / form, form)
    assert isinstance(model, Transformer)
    return folder / form, model


@pytest.fixture(scope="module")
def copier() -> nn.Module:
    recipe = PAPER.recipe("demo/base", SIZES)
    return taught(drawn(PAPER, recipe), recipe)


def pairs(folder: Path) -> Batch:
    """Return LINES in two different orders as sources and targets."""
    text = load(PAPER, folder).run.text
    sides = [[*text.encode_source(line), EOS] for line in LINES[:40]]
    return Batch(*pad(sides), *pad(sides[::-1]))


def log_p(model: Transformer, batch: Batch) -> torch.Tensor:
    """Return the log-probabilities at all target positions, one row after the other; (tokens, V)."""
    with torch.inference_mode():
        return model(batch)[batch.target_mask].log_softmax(-1)


def run_the_card(folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run the Python of a model card beside the folder, and return what it prints."""
    (code,) = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    printed = io.StringIO()
    monkeypatch.chdir(folder.parent)
    with contextlib.redirect_stdout(printed):
        exec(code, {})
    return printed.getvalue()


@pytest.mark.parametrize("name", MODELS)
def test_ctranslate2_gives_the_same_log_probabilities(name: str, tmp_path: Path) -> None:
    pytest.importorskip("ctranslate2", reason="pip install ctranslate2")
    folder, model = exported(tmp_path, "ctranslate2", MODELS[name])
    batch, other = pairs(tmp_path / "run"), CTranslate2(folder, compute_type="float32")
    names = [*other._target]
    source, target = (
        [[names[i] for i in row[mask][:-1]] for row, mask in zip(ids, masks, strict=True)]
        for ids, masks in ((batch.source, batch.source_mask), (batch.target, batch.target_mask))
    )
    scored = other.translator.score_batch(source, target, max_input_length=0)
    theirs = torch.tensor([value for one in scored for value in one.log_probs])
    ours = log_p(model, batch).gather(1, batch.target[batch.target_mask][:, None])[:, 0]
    torch.testing.assert_close(theirs, ours, atol=2e-5, rtol=0)


@pytest.mark.parametrize(
    "words", [["decode.max_extra=50"], ["decode.max_extra=1"], ["decode.beam=1"], ["decode.suppress_unk=true"]], ids=str
)
def test_ctranslate2_finds_our_translations_or_worse_ones(words: list[str], copier: nn.Module, tmp_path: Path) -> None:
    """200 sentences, beam 4, alpha 0.6. With one extra token many translations are cut off.

    CTranslate2 overlooks ends of sentences (formats.py). Of this model, which is far from trained, some of those are
    better than what it finds. It never finds a better translation than we do.
    """
    pytest.importorskip("ctranslate2", reason="pip install ctranslate2")
    folder, model = exported(tmp_path, "ctranslate2", words, copier)
    other, own = CTranslate2(folder, compute_type="float32"), load(PAPER, tmp_path / "run").run
    decode = own.recipe.decode
    assert decode.alpha == 0.6 and decode.beam in (1, 4)
    sources = [own.text.encode_source(line) for line in [*LINES, ""]]
    ours, theirs = decode_ids(model, sources, decode), [tuple(ids) for ids in other.search(sources)]
    assert len({one.tokens for one in ours}) > 100
    differing = [i for i, one in enumerate(ours) if one.tokens != theirs[i]]
    assert len(differing) <= (0 if decode.beam == 1 else 20)
    for i in differing:
        assert ours[i].finished
        batch = Batch(*pad([[*sources[i], EOS]]), *pad([[*theirs[i], EOS]]))
        total = log_p(model, batch).gather(1, batch.target.T).sum().item()
        assert total / length_penalty(len(theirs[i]) + 1, decode) < ours[i].score


@pytest.fixture
def marian(tmp_path: Path, request: pytest.FixtureRequest) -> tuple[Any, Transformer, Batch]:
    """An exported model as transformers loads it, ours, and sentences. Its norms' epsilon is not set yet."""
    transformers = pytest.importorskip("transformers", reason="pip install transformers")
    folder, model = exported(tmp_path, "marian", MODELS[request.param])
    theirs, found = transformers.MarianMTModel.from_pretrained(folder, output_loading_info=True)
    assert not any(found.values()), found
    return theirs.eval(), model, pairs(tmp_path / "run")


@pytest.mark.parametrize("marian", MARIAN, indirect=True)
def test_marian_gives_the_same_log_probabilities(marian: tuple[Any, Transformer, Batch]) -> None:
    theirs, model, batch = marian
    rows = len(model.E)
    previous = batch.previous.masked_fill(batch.previous == START, rows)
    ours = log_p(model, batch)

    def farthest() -> float:
        with torch.inference_mode():
            out = theirs(input_ids=batch.source, attention_mask=batch.source_mask.long(), decoder_input_ids=previous)
        found = out.logits[batch.target_mask].log_softmax(-1)
        assert (found[:, rows] == -torch.inf).all(), "START is never written"
        return float((found[:, :rows] - ours).abs().max())

    assert 1e-5 < farthest() < 1e-2, "with an epsilon of 1e-5 it is another function, though near"
    norms = [part for part in theirs.modules() if isinstance(part, nn.LayerNorm)]
    assert len(norms) == 2 * (2 + 3)
    for norm in norms:
        norm.eps = LAYER_NORM_EPSILON
    assert farthest() < 2e-5


@pytest.mark.parametrize("form", ["ctranslate2", "marian"])
def test_the_lines_of_the_model_card_translate(
    form: str, copier: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip({"marian": "transformers"}.get(form, form))
    folder, _ = exported(tmp_path, form, [], copier)
    (expected,) = load(PAPER, tmp_path / "run").translate([LINES[7]])
    (tmp_path / "run").rename(tmp_path / "gone")
    card = (folder / "README.md").read_text()
    (folder / "README.md").write_text(card.replace(repr(made.LONG.source), repr(LINES[7])))
    assert expected in run_the_card(folder, monkeypatch)


@pytest.mark.parametrize("form", ["ctranslate2", "marian"])
def test_the_lines_of_the_model_card_refuse_what_is_damaged(
    form: str, copier: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip({"marian": "transformers"}.get(form, form))
    folder, _ = exported(tmp_path, form, [], copier)
    for path in (folder / "text" / "bpe.codes", folder / {"marian": "model.safetensors"}.get(form, "model.bin")):
        content = path.read_bytes()
        path.write_bytes(content[: content.rindex(b"\n", 0, -1) + 1])
        with pytest.raises(
            UserError, match=f"{path.relative_to(tmp_path)}: damaged or missing, .*; export the run again"
        ):
            run_the_card(folder, monkeypatch)
        path.write_bytes(content)
    assert run_the_card(folder, monkeypatch)


def test_ctranslate2_refuses_other_folders(tmp_path: Path) -> None:
    folder, _ = exported(tmp_path, "marian", [])
    with pytest.raises(UserError, match="format marian, which transformers.MarianMTModel opens"):
        CTranslate2(folder)
    with pytest.raises(UserError, match="run: not an exported folder .* `export RUN --format ctranslate2`"):
        CTranslate2(tmp_path / "run")


@pytest.mark.parametrize(
    ("form", "words", "reason"),
    [
        ("ctranslate2", ["d_v=8"], "heads of d_model / h = 16, and model.d_v is 8"),
        ("ctranslate2", ["decode.search=shrinking"], "only decode.search=fixed"),
        ("marian", ["d_k=8"], "heads of d_model / h = 16, and model.d_k is 8"),
        ("marian", MODELS["learned"], "the sinusoids of §3.5"),
        ("marian", ["sinusoids=halves"], "the sinusoids of §3.5"),
        ("marian", ["embedding_matrices=2"], "one embedding matrix only"),
    ],
)
def test_what_a_format_cannot_hold_is_refused(form: str, words: list[str], reason: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=re.escape(reason)):
        exported(tmp_path, form, words)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_without_the_package_there_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "ctranslate2", None)
    with pytest.raises(UserError, match="pip install ctranslate2$"):
        exported(tmp_path, "ctranslate2", [])


def test_a_sentence_beyond_the_positions_is_refused(copier: nn.Module, tmp_path: Path) -> None:
    pytest.importorskip("ctranslate2", reason="pip install ctranslate2")
    folder, _ = exported(tmp_path, "ctranslate2", [], copier)
    with pytest.raises(UserError, match="a sentence of 1,001 pieces: the exported model ends at 1,024; split it"):
        CTranslate2(folder).search([[3] * 1000])


def test_every_row_has_a_name_of_its_own() -> None:
    """Text that is already tokenised (`text.tokeniser=none`) may have any words."""
    words = ["a", "<unk>", "<row0>", "</s>"]
    names = spellings(Vocabulary(words, 8))
    assert names == ["<row1>", "<row2>", *words, "<row3>", "<row4>"]
    assert spellings(Vocabulary(["a"], 4)) == ["</s>", "<unk>", "a", "<row0>"]
