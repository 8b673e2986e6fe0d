"""The Transformer in the formats of two other programs: CTranslate2, and MarianMT of Hugging Face's transformers.

Both compute the equations of model.py from the same parameters: post-norm layers, ReLU, sqrt(d) E[word], no bias before
the softmax. Both have one size of head, so h d_k and h d_v must be d. tests/vaswani2017/test_formats.py compares their
log-probabilities with ours.

CTranslate2 begins with a zero vector as we do (`start_from_zero_embedding`), reads the positions from a table and the
  norms' epsilon from its configuration. So it holds all that model.py and authors.py compute, up to POSITIONS.
MarianMT has sines and cosines in two halves. A model does not know in which order its d dimensions are. If they are
  sorted into even and odd ones, the interleaved sinusoids of §3.5 are MarianMT's own. START is a row of zeros at the
  end of the vocabulary, whose logit is -inf. It has no other positions, and fixes the norms' epsilon at 1e-5.
"""

from __future__ import annotations

import importlib
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from common.decode.beam import length_penalty
from common.errors import UserError
from common.files import write_json
from common.ids import EOS, UNK
from common.recipe import Recipe
from common.run.export import Format
from common.run.exported import several, whole
from common.run.folder import LoadedRun, recipe_in
from common.text.pipeline import TextPipeline
from common.text.vocabulary import SPECIALS, Vocabulary
from common.train.checkpoint import save_tensors
from papers.vaswani2017.model import (
    LAYER_NORM_EPSILON,
    AddAndNorm,
    DecoderLayer,
    EncoderLayer,
    Linear,
    MultiHeadAttention,
    Transformer,
)
from papers.vaswani2017.paper import PAPER

POSITIONS = 1024
"""Longest source or target, in pieces, that an exported model can read or write."""
PATIENCE = 4
"""CTranslate2 ends the search of a sentence when it has found this many finished translations for each place of the
beam. Here it ends when none of those that are alive can become better. More costs time and finds hardly any other."""


def _model(run: LoadedRun, program: str) -> Transformer:
    """Return the run's model. Raise UserError if its heads have a size that neither program can hold."""
    config = run.recipe.model
    for key in ("d_k", "d_v"):
        if config.h * getattr(config, key) != config.d_model:
            raise UserError(
                f"{run.path}: {program} has heads of d_model / h = {config.d_model / config.h:g}, and model.{key} is "
                f"{getattr(config, key)}; export it in the format safetensors"
            )
    assert isinstance(run.model, Transformer)
    return run.model


def spellings(vocabulary: Vocabulary) -> list[str]:
    """Return a different name for each row of a vocabulary: EOS, UNK, the words, and rows without a word."""
    names = [*vocabulary.words]
    free = (name for name in _names() if name not in vocabulary)
    specials = [next(free) for _ in range(SPECIALS)]
    return [*specials, *names, *(next(free) for _ in range(vocabulary.size - SPECIALS - len(names)))]


def _names() -> Iterable[str]:
    """Yield names for rows without a word. A word of the text may have the same, which is then passed over."""
    yield from ("</s>", "<unk>")
    yield from (f"<row{number}>" for number in range(10**9))


# ----------------------------------------------------------------------------------------------------------------
# CTranslate2


def _ctranslate2() -> Any:
    """Import CTranslate2. Raise UserError if it is not installed."""
    try:
        return importlib.import_module("ctranslate2")
    except ImportError:
        raise UserError("the format ctranslate2 needs the package of that name; pip install ctranslate2") from None


def write_ctranslate2(run: LoadedRun, folder: Path) -> None:
    """Write the weights, the configuration and the vocabularies of CTranslate2's `TransformerSpec`."""
    model, config, decode = _model(run, "CTranslate2"), run.recipe.model, run.recipe.decode
    if decode.search != "fixed" or decode.retry:
        raise UserError(f"{run.path}: CTranslate2 has only decode.search=fixed, without decode.retry; choose these")
    spec = _ctranslate2().specs.TransformerSpec.from_config(config.N, config.h, pre_norm=False)
    layers: list[EncoderLayer | DecoderLayer] = [*model.encoder, *model.decoder]
    for layer, ours in zip([*spec.encoder.layer, *spec.decoder.layer], layers, strict=True):
        own = ours.self_attention
        _set_linear(layer.self_attention.linear[0], own.W_Q, own.W_K, own.W_V)
        _set_linear(layer.self_attention.linear[1], own.W_O)
        _set_norm(layer.self_attention.layer_norm, ours.self_attention_norm)
        if isinstance(ours, DecoderLayer):
            other = ours.source_attention
            for linear, projections in zip(
                layer.attention.linear, ([other.W_Q], [other.W_K, other.W_V], [other.W_O]), strict=True
            ):
                _set_linear(linear, *projections)
            _set_norm(layer.attention.layer_norm, ours.source_attention_norm)
        _set_linear(layer.ffn.linear_0, ours.feed_forward.W_1)
        _set_linear(layer.ffn.linear_1, ours.feed_forward.W_2)
        _set_norm(layer.ffn.layer_norm, ours.feed_forward_norm)
    matrices = model.matrices
    spec.encoder.embeddings[0].weight = matrices.source.detach()
    spec.decoder.embeddings.weight = matrices.target.detach()
    spec.decoder.projection.weight = matrices.softmax.detach()
    spec.encoder.position_encodings.encodings = model.source_positions(0, POSITIONS).detach()
    spec.decoder.position_encodings.encodings = model.target_positions(0, POSITIONS).detach()
    spec.decoder.start_from_zero_embedding = True
    names = {"source": spellings(run.text.source_vocabulary), "target": spellings(run.text.target_vocabulary)}
    spec.register_source_vocabulary(names["source"])
    spec.register_target_vocabulary(names["target"])
    about = spec.config
    about.layer_norm_epsilon, about.add_source_eos = LAYER_NORM_EPSILON, True
    about.eos_token, about.unk_token = names["target"][EOS], names["target"][UNK]
    about.bos_token = about.decoder_start_token = (
        about.eos_token
    )  # it stands in the place of START, and is not looked up
    spec.validate()
    spec.optimize()  # equal matrices are stored once
    spec.save(str(folder))


def _set_linear(spec: Any, *projections: Linear) -> None:
    """Give CTranslate2 projections that it computes as one."""
    spec.weight = torch.cat([projection.weight for projection in projections]).detach()
    if projections[0].bias is not None:
        spec.bias = torch.cat([projection.bias for projection in projections]).detach()


def _set_norm(spec: Any, ours: AddAndNorm) -> None:
    spec.gamma, spec.beta = ours.norm.weight.detach(), ours.norm.bias.detach()


class CTranslate2:
    """An exported folder that CTranslate2 translates with, by the search of the recipe.

    Two things in CTranslate2's search differ. It counts an end of sentence only among the k best continuations of a
    step, where Vaswani2017's own code (and ours) looks at 2k. And it ends as PATIENCE says. The rank is the recipe's:
    CTranslate2 divides a log-probability by |Y|^alpha, so it is asked for all that it found.
    """

    def __init__(self, folder: str | Path, **options: Any) -> None:
        """Open a folder. options: those of `ctranslate2.Translator`, such as device="cuda" or compute_type="int8"."""
        folder = whole(folder, "ctranslate2")
        self.recipe: Recipe = recipe_in(PAPER, folder)
        self.text = TextPipeline.load(folder / "text")
        self.translator = _ctranslate2().Translator(str(folder), **options)
        self._source = spellings(self.text.source_vocabulary)
        self._target = {name: index for index, name in enumerate(spellings(self.text.target_vocabulary))}

    def translate(self, sentences: Iterable[str]) -> list[str]:
        """Return the translations of untokenised sentences. Empty ones stay empty. Raise UserError for a single one."""
        found = self.search([self.text.encode_source(sentence) for sentence in several(sentences)])
        return [self.text.detokenise(self.text.target_tokens(ids)) for ids in found]

    def search(self, sources: Sequence[Sequence[int]]) -> list[Sequence[int]]:
        """Return the ids of the best translation of each source, all without EOS.

        Raise UserError for a source whose translation may become longer than POSITIONS.
        """
        best: list[Sequence[int]] = [()] * len(sources)
        lengths: dict[int, list[int]] = defaultdict(list)
        for index, ids in enumerate(sources):
            if ids:
                lengths[len(ids) + 1].append(index)
        for length, chosen in lengths.items():  # one call has one limit, and the limit depends on the length
            for index, result in zip(chosen, self._results([sources[i] for i in chosen], length), strict=True):
                best[index] = self._best(result)
        return best

    def _results(self, sources: Sequence[Sequence[int]], length: int) -> list[Any]:
        """Return what CTranslate2 finds for sources of `length` pieces, EOS included."""
        decode = self.recipe.decode
        limit = max(1, math.floor(decode.max_factor * length) + decode.max_extra)
        if max(limit, length) > POSITIONS:
            raise UserError(f"a sentence of {length:,} pieces: the exported model ends at {POSITIONS:,}; split it")
        many = decode.beam > 1
        results: list[Any] = self.translator.translate_batch(
            [[self._source[index] for index in ids] for ids in sources],
            max_batch_size=64,
            beam_size=decode.beam,
            patience=PATIENCE if many else 1,
            num_hypotheses=PATIENCE * decode.beam if many else 1,
            length_penalty=1,  # it has to be something: without one it stops at the first that is finished
            return_scores=True,
            return_end_token=True,
            max_input_length=0,
            max_decoding_length=limit,
            min_decoding_length=math.floor(decode.min_factor * length),
            disable_unk=decode.suppress_unk,
        )
        return results

    def _best(self, result: Any) -> Sequence[int]:
        """Return the finished hypothesis with the best score by the recipe's length penalty, or else an unfinished."""
        ranked = []
        for names, score in zip(result.hypotheses, result.scores, strict=True):
            ids = [self._target[name] for name in names]
            finished = bool(ids) and ids[-1] == EOS
            log_p = score * len(ids)
            rank = log_p / length_penalty(len(ids), self.recipe.decode)
            ranked.append((finished, rank, ids[:-1] if finished else ids))
        return max(ranked, key=lambda one: one[:2])[2]


# ----------------------------------------------------------------------------------------------------------------
# MarianMT


def write_marian(run: LoadedRun, folder: Path) -> None:
    """Write config.json, generation_config.json and model.safetensors of transformers' `MarianMTModel`."""
    model, config = _model(run, "MarianMT"), run.recipe.model
    if config.positions != "sinusoidal" or config.departs:
        raise UserError(
            f"{run.path}: MarianMT has the sinusoids of §3.5 and one embedding matrix only; "
            "export it in the format ctranslate2 or safetensors"
        )
    rows, d = model.E.shape
    write_json(folder / "config.json", marian_config(run.recipe, rows))
    decode = run.recipe.decode
    search = {
        "num_beams": decode.beam,
        "length_penalty": {"none": 0.0, "mean": 1.0, "gnmt": decode.alpha}[decode.length_penalty],
        "max_length": POSITIONS // 2,
        "decoder_start_token_id": rows,
        "pad_token_id": rows,
        "eos_token_id": EOS,
    }
    write_json(folder / "generation_config.json", search)
    order = torch.cat([torch.arange(0, d, 2), torch.arange(1, d, 2)])  # the sines' dimensions, then the cosines'
    tensors = {"shared.weight": torch.cat([model.E[:, order], torch.zeros(1, d)])}  # (V + 1, d), START last
    stacks: dict[str, Sequence[EncoderLayer | DecoderLayer]] = {"encoder": model.encoder, "decoder": model.decoder}
    for stack, layers in stacks.items():
        for number, layer in enumerate(layers):
            tensors |= {f"{stack}.layers.{number}.{name}": one for name, one in _marian_layer(layer, order)}
    named = {f"model.{name}": tensor for name, tensor in tensors.items()}
    named["final_logits_bias"] = torch.tensor([[0.0] * rows + [-math.inf]])  # (1, V + 1)
    save_tensors(folder / "model.safetensors", named, {"format": "pt"})


def marian_config(recipe: Recipe, rows: int) -> dict[str, Any]:
    """Return the fields of transformers' `MarianConfig`. rows: of the vocabulary, without START."""
    config = recipe.model
    stacks = {
        f"{stack}_{name}": value
        for stack in ("encoder", "decoder")
        for name, value in (("layers", config.N), ("attention_heads", config.h), ("ffn_dim", config.d_ff))
    }
    return {
        "architectures": ["MarianMTModel"],
        "model_type": "marian",
        "vocab_size": rows + 1,
        "decoder_vocab_size": rows + 1,
        "d_model": config.d_model,
        **stacks,
        "activation_function": "relu",
        "dropout": config.P_drop,
        "attention_dropout": config.attention_dropout,
        "scale_embedding": True,
        "max_position_embeddings": POSITIONS,
        "share_encoder_decoder_embeddings": True,
        "tie_word_embeddings": True,
        "decoder_start_token_id": rows,
        "pad_token_id": rows,
        "eos_token_id": EOS,
        "forced_eos_token_id": None,
    }


def _marian_layer(layer: EncoderLayer | DecoderLayer, order: Tensor) -> Iterable[tuple[str, Tensor]]:
    """Yield a layer's tensors under MarianMT's names, with the d dimensions of its stream in `order`."""

    def attention(name: str, ours: MultiHeadAttention) -> Iterable[tuple[str, Tensor]]:
        for short, projection in (("q", ours.W_Q), ("k", ours.W_K), ("v", ours.W_V)):
            yield from reading(f"{name}.{short}_proj", projection)
        yield from writing(f"{name}.out_proj", ours.W_O)

    def reading(name: str, linear: Linear) -> Iterable[tuple[str, Tensor]]:
        yield f"{name}.weight", linear.weight[:, order]
        yield f"{name}.bias", linear.bias if linear.bias is not None else torch.zeros(linear.out_features)

    def writing(name: str, linear: Linear) -> Iterable[tuple[str, Tensor]]:
        yield f"{name}.weight", linear.weight[order]
        yield f"{name}.bias", linear.bias[order] if linear.bias is not None else torch.zeros(linear.out_features)

    def norm(name: str, ours: AddAndNorm) -> Iterable[tuple[str, Tensor]]:
        yield f"{name}.weight", ours.norm.weight[order]
        yield f"{name}.bias", ours.norm.bias[order]

    yield from attention("self_attn", layer.self_attention)
    yield from norm("self_attn_layer_norm", layer.self_attention_norm)
    if isinstance(layer, DecoderLayer):
        yield from attention("encoder_attn", layer.source_attention)
        yield from norm("encoder_attn_layer_norm", layer.source_attention_norm)
    yield from reading("fc1", layer.feed_forward.W_1)
    yield from writing("fc2", layer.feed_forward.W_2)
    yield from norm("final_layer_norm", layer.feed_forward_norm)


FORMATS: Mapping[str, Format] = {
    "ctranslate2": Format(
        write_ctranslate2,
        "from papers.vaswani2017.formats import CTranslate2\n"
        "model = CTranslate2(FOLDER)\n"
        "print(model.translate([SENTENCE]))",
        "papers.vaswani2017.formats.CTranslate2",
        (
            "It needs `pip install ctranslate2`. The weights are float32. With another `compute_type`, such as int8, "
            "`CTranslate2(..., compute_type=...)` rounds them when it loads them.",
            f"A source or translation has at most {POSITIONS:,} pieces.",
            "Log-probabilities are the same. Two rules of the search differ: an end of sentence counts only among the "
            f"k best continuations and not the 2 k best, and {PATIENCE} k finished translations end it. So a "
            "translation may be another one now and then.",
            "`ctranslate2.Translator` alone takes pieces, not text, and divides a log-probability by |Y|^alpha, not by "
            "((5 + |Y|) / 6)^alpha. `CTranslate2` asks it for all that it found and ranks them by the latter.",
        ),
    ),
    "marian": Format(
        write_marian,
        "import torch\n"
        "from transformers import MarianMTModel\n"
        "from common.run.exported import whole\n"
        "from common.text.pipeline import TextPipeline\n"
        'folder = whole(FOLDER, "marian")\n'
        'model, text = MarianMTModel.from_pretrained(folder).eval(), TextPipeline.load(folder / "text")\n'
        'for norm in (one for name, one in model.named_modules() if name.endswith("layer_norm")):\n'
        f"    norm.eps = {LAYER_NORM_EPSILON:g}\n"
        "ids = model.generate(torch.tensor([[*text.encode_source(SENTENCE), 0]]))[0, 1:]\n"
        "print(text.detokenise(text.target_tokens(ids)))",
        "transformers.MarianMTModel",
        (
            "It needs `pip install transformers`.",
            f"Its class fixes the norms' epsilon at 1e-5. The model was trained with {LAYER_NORM_EPSILON:g}, and with "
            "the loop above the log-probabilities are the same.",
            "`generate` divides a log-probability by |Y|^alpha, not by ((5 + |Y|) / 6)^alpha, and ends its search by "
            "rules of its own. So its translations differ here and there.",
            f"A source or translation has at most {POSITIONS:,} pieces.",
            "There is no tokeniser of transformers for `text/`: the Moses script comes before the sub-words.",
        ),
    ),
}
"""Formats by name."""
