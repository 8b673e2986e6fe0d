"""Sentences around the beam search: ids in batches of similar length, and a stream of text lines."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice

import torch
from torch import nn

from common.decode.beam import Hypothesis, beam_search
from common.model import EOS, Seq2SeqModel, pad
from common.recipe import Decode


def decode_ids(
    model: Seq2SeqModel,
    sentences: Sequence[Sequence[int]],
    decode: Decode,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> list[Hypothesis]:
    """The best hypothesis of every sentence, in the order given.

    sentences: source ids without EOS; an empty one is answered by an empty hypothesis, undecoded.
    progress: called with (sentences done, sentences in all) after each batch of `decode.batch`.
    The model should be in evaluation mode; it decodes where its parameters are.
    """
    best = [Hypothesis((), 0.0, 0.0, True)] * len(sentences)
    # Longest first: memory runs out at once or not at all, and the time left is never underestimated.
    order = sorted((i for i, words in enumerate(sentences) if len(words)), key=lambda i: -len(sentences[i]))
    empty = len(sentences) - len(order)
    for start in range(0, len(order), decode.batch):
        chosen = order[start : start + decode.batch]
        source, source_mask = pad([[*sentences[i], EOS] for i in chosen])
        device = _device(model)
        for i, hypotheses in zip(
            chosen, beam_search(model, source.to(device), source_mask.to(device), decode), strict=True
        ):
            best[i] = hypotheses[0]
        if progress is not None:
            progress(empty + start + len(chosen), len(sentences))
    return best


def _device(model: Seq2SeqModel) -> torch.device:
    parameters = model.parameters() if isinstance(model, nn.Module) else iter(())
    return next((parameter.device for parameter in parameters), torch.device("cpu"))


def translate_stream(
    lines: Iterable[str], translate_block: Callable[[list[str]], list[str]], *, block: int = 512
) -> Iterator[str]:
    """One translation per line, in order, while the lines are still coming; blank lines stay, empty.

    lines: text with or without line ends; at most `block` are held at a time.
    translate_block: given the lines of a block that are not blank, returns as many translations.
    """
    stream = iter(lines)
    while taken := [line.rstrip("\r\n") for line in islice(stream, block)]:
        texts = [line for line in taken if line.strip()]
        translations = translate_block(texts) if texts else []
        pairs = iter(list(zip(texts, translations, strict=True)))
        for line in taken:
            yield next(pairs)[1] if line.strip() else ""
