"""`plan`: what a recipe will cost, without touching data: parameters, FLOPs, steps, hours.

The model is built on PyTorch's meta device, which has shapes and no memory, and its matrix products are
counted by `torch.utils.flop_counter` over one real forward and backward pass.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from common.data.corpora import check_languages, disk_needed
from common.model import EOS, Batch
from common.paper import Paper
from common.recipe import Recipe
from common.train.loss import cross_entropy_sum


def parameter_counts(paper: Paper, recipe: Recipe) -> dict[str, int]:
    """Trainable parameters per block, in the model's own order."""
    with torch.device("meta"):
        model = paper.build_model(recipe)
    counts: dict[str, int] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            block = paper.blocks(name)
            counts[block] = counts.get(block, 0) + parameter.numel()
    return counts


def minibatch_shape(recipe: Recipe) -> tuple[int, int, int]:
    """Sentences, source length and target length of an average minibatch, from the recipe's mean lengths."""
    source, target = recipe.data.mean_source_tokens, recipe.data.mean_target_tokens
    sentences = recipe.batch.sentences or max(1, round((recipe.batch.tokens or 0) / max(source, target)))
    return sentences, max(1, round(source)), max(1, round(target))


def training_flops(paper: Paper, recipe: Recipe) -> int:
    """FLOPs of the matrix products of one update, forward and backward; a multiply-add counts as two."""
    sentences, source, target = minibatch_shape(recipe)
    with torch.device("meta"):
        model = paper.build_model(recipe)
        batch = Batch(
            torch.full((sentences, source), EOS),
            torch.ones(sentences, source, dtype=torch.bool),
            torch.full((sentences, target), EOS),
            torch.ones(sentences, target, dtype=torch.bool),
        )
        with FlopCounterMode(display=False) as counter:
            cross_entropy_sum(model(batch), batch.target, batch.target_mask).backward()
    return int(counter.get_total_flops()) * recipe.batch.accumulate


def plan(paper: Paper, recipe: Recipe) -> dict[str, Any]:
    """Everything `plan` prints, machine-readable."""
    blocks = parameter_counts(paper, recipe)
    flops = training_flops(paper, recipe)
    sentences, source, target = minibatch_shape(recipe)
    downloads, preparation = disk_needed(check_languages(recipe.data), recipe.data)
    updates_per_epoch = recipe.data.pairs / (sentences * recipe.batch.accumulate)
    return {
        "paper": paper.name,
        "recipe": recipe.name,
        "title": recipe.title,
        "parameters": {"blocks": blocks, "total": sum(blocks.values())},
        "data": {
            "corpus": recipe.data.corpus,
            "languages": f"{recipe.data.source}-{recipe.data.target}",
            "pairs": recipe.data.pairs,
            "segmentation": recipe.data.segmentation,
            "vocabulary_size": recipe.data.vocabulary_size,
            "max_length": recipe.data.max_length,
            "download_bytes": downloads,
            "preparation_bytes": preparation,
        },
        "minibatch": {
            "sentences": sentences,
            "source_tokens": sentences * source,
            "target_tokens": sentences * target,
            "accumulate": recipe.batch.accumulate,
        },
        "steps": recipe.train.steps,
        "epochs": round(recipe.train.steps / updates_per_epoch, 2),
        "flops_per_step": flops,
        "flops_total": flops * recipe.train.steps,
        "sustained_flops_per_second": dict(paper.hardware),
        "hours": {name: flops * recipe.train.steps / rate / 3600 for name, rate in paper.hardware.items()},
    }


def describe(values: dict[str, Any]) -> str:
    """The plan as text."""
    data, batch = values["data"], values["minibatch"]
    width = max(len(name) for name in values["parameters"]["blocks"])
    lines = [f"{values['recipe']}: {values['title']}", "", "Trainable parameters"]
    lines += [f"  {name:<{width}} {count:>13,}" for name, count in values["parameters"]["blocks"].items()]
    lines += [
        f"  {'total':<{width}} {values['parameters']['total']:>13,}",
        "",
        f"Data     {data['corpus']} {data['languages']}, {data['pairs']:,} pairs, {data['segmentation']}, "
        f"vocabulary {data['vocabulary_size']:,}, training length limit {data['max_length'] or 'none'}",
        f"Disk     {data['download_bytes'] / 1e9:,.1f} GB to download, "
        f"about {data['preparation_bytes'] / 1e9:,.1f} GB more while it is prepared",
        f"Update   {batch['sentences']:,} sentence pairs x {batch['accumulate']} "
        f"({batch['source_tokens']:,} source + {batch['target_tokens']:,} target tokens each)",
        f"Steps    {values['steps']:,} updates, about {values['epochs']:,} epochs",
        f"FLOPs    {values['flops_per_step']:.3g} a step, {values['flops_total']:.3g} in all "
        "(matrix products, forward and backward)",
        "",
        f"Estimated hours, at the rate each sustains on this paper's own sizes (sources: {values['paper']}/paper.py)",
    ]
    lines += [
        f"  {name:<36} {values['sustained_flops_per_second'][name]:.1e} FLOP/s {hours:>10,.3g} h"
        for name, hours in values["hours"].items()
    ]
    return "\n".join(lines)
