"""`plan`: what a recipe will cost, without any data: parameters, FLOPs, updates, hours.

The model is built on PyTorch's meta device, where tensors have shapes and no memory. `torch.utils.flop_counter` counts
its matrix products over one real forward and backward pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from common.contract import Batch
from common.corpus.bitext import choose
from common.errors import enough_memory
from common.ids import EOS
from common.paper import Paper
from common.recipe import OWN_SCALE, Recipe
from common.train.loss import cross_entropy_sum

SMALL = 0.25
"""Share of the measured system's parameters. Its rate does not apply to a smaller model."""


def parameter_counts(paper: Paper, recipe: Recipe) -> dict[str, int]:
    """Return the number of trainable parameters of each block, in the model's own order."""
    with torch.device("meta"):
        model = paper.build_model(recipe)
    counts: dict[str, int] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            block = paper.block(name)
            counts[block] = counts.get(block, 0) + parameter.numel()
    return counts


def minibatch_shape(recipe: Recipe) -> tuple[int, int, int]:
    """Return sentences, source length and target length of an average minibatch, from the recipe's mean lengths."""
    source, target = recipe.estimate.source_tokens, recipe.estimate.target_tokens
    sentences = recipe.batch.sentences or max(1, round((recipe.batch.tokens or 0) / max(source, target)))
    return sentences, max(1, round(source)), max(1, round(target))


def training_flops(paper: Paper, recipe: Recipe) -> int:
    """Count the FLOPs of one update's matrix products, forward and backward. A multiply-add counts as two."""
    sentences, source, target = minibatch_shape(recipe)
    # The model of the equations: what is arranged for speed need not run without memory.
    readable = replace(recipe, run=replace(recipe.run, path="readable"))
    with torch.device("meta"), torch.enable_grad():
        model = paper.build_model(readable)
        batch = Batch(
            torch.full((sentences, source), EOS),
            torch.ones(sentences, source, dtype=torch.bool),
            torch.full((sentences, target), EOS),
            torch.ones(sentences, target, dtype=torch.bool),
        )
        with FlopCounterMode(display=False) as counter:
            cross_entropy_sum(model(batch), batch.target, batch.target_mask).backward()
    return int(counter.get_total_flops()) * recipe.batch.accumulate


def training_hours(paper: Paper, recipe: Recipe, flops: int, parameters: int) -> dict[str, Any]:
    """Return the hours of a training of `flops` FLOPs on each hardware.

    Beside them: notes on their accuracy, and the hours that the paper reports.
    """
    nearest = paper.rated_as(recipe)
    first = {name: next(iter(rates)) for name, rates in paper.hardware.items()}
    measured_on = {name: nearest if nearest in rates else first[name] for name, rates in paper.hardware.items()}
    sustained = {name: rates[measured_on[name]] for name, rates in paper.hardware.items()}
    notes = []
    if stand_ins := set(measured_on.values()) - {nearest}:
        apart = [rates[nearest] / rates[first[name]] for name, rates in paper.hardware.items() if nearest in rates]
        notes.append(
            f"{', '.join(sorted(stand_ins))} stands in where {nearest} was not measured; "
            f"where both were, {nearest}'s rate is {min(apart):.2f} to {max(apart):.2f} times as high"
        )
    if parameters < SMALL * sum(parameter_counts(paper, paper.recipe(nearest)).values()):
        notes.append(f"far smaller than {nearest}, a model keeps no hardware as busy: these hours are too few")
    reported = paper.reported_training(recipe.system) if recipe.scale == OWN_SCALE else None
    return {
        "sustained_flops_per_second": sustained,
        "rates_measured_on": measured_on,
        "hours": {name: flops / rate / 3600 for name, rate in sustained.items()},
        # An assumption and no measurement: eight GPUs divide the work perfectly.
        "hours_on_8_assumed": {
            name: flops / rate / 3600 / 8 for name, rate in sustained.items() if name.startswith("1x ")
        },
        "hours_notes": notes,
        "reported_by_the_paper": None if reported is None else {"system": recipe.system, **asdict(reported)},
    }


def plan(paper: Paper, recipe: Recipe) -> dict[str, Any]:
    """Return everything that `plan` prints, as plain values."""
    with enough_memory(f"{recipe.name}: one update", "lower the sizes in the recipe's sections model, text and batch"):
        blocks = parameter_counts(paper, recipe)
        flops = training_flops(paper, recipe)
    sentences, source, target = minibatch_shape(recipe)
    data, text, estimate = recipe.data, recipe.text, recipe.estimate
    bitext = choose(data)
    downloads, preparation = bitext.bytes_needed(estimate.pairs, estimate.source_tokens + estimate.target_tokens)
    updates_per_epoch = estimate.pairs / (sentences * recipe.batch.accumulate)
    return {
        "paper": paper.name,
        "recipe": recipe.name,
        "title": recipe.title,
        "parameters": {"blocks": blocks, "total": sum(blocks.values())},
        "data": {
            "corpus": data.corpus,
            "languages": f"{data.source}-{data.target}",
            "pairs": estimate.pairs,
            "segmentation": text.segmentation,
            "vocabulary_size": text.vocabulary_size,
            "max_length": recipe.batch.max_length,
            "download_bytes": downloads,
            "preparation_bytes": preparation,
        },
        # The state has the weights and, with either paper's optimizer, two averages of their size.
        "training_bytes": 4 * sum(blocks.values()) * (recipe.train.keep_checkpoints + 3),
        "minibatch": {
            "sentences": sentences,
            "source_tokens": sentences * source,
            "target_tokens": sentences * target,
            "accumulate": recipe.batch.accumulate,
        },
        "steps": recipe.train.steps,
        "continues": recipe.train.continues,
        "epochs": round(recipe.train.steps / updates_per_epoch, 2),
        "flops_per_step": flops,
        "flops_total": flops * recipe.train.steps,
        **training_hours(paper, recipe, flops * recipe.train.steps, sum(blocks.values())),
    }


def describe(values: dict[str, Any]) -> str:
    """Return the plan as text."""
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
        f"about {data['preparation_bytes'] / 1e9:,.1f} GB more while it is prepared, "
        f"{values['training_bytes'] / 1e9:,.1f} GB of checkpoints and state",
        f"Update   {batch['sentences']:,} sentence pairs x {batch['accumulate']} "
        f"({batch['source_tokens']:,} source + {batch['target_tokens']:,} target tokens each)",
        f"Steps    {values['steps']:,} updates, about {values['epochs']:,} epochs"
        + (f", those of {values['continues']} included, which it continues" if values["continues"] else ""),
        f"FLOPs    {values['flops_per_step']:.3g} a step, {values['flops_total']:.3g} in all "
        "(matrix products, forward and backward)",
        "",
        *_describe_hours(values),
    ]
    return "\n".join(lines)


def describe_together(plans: Sequence[dict[str, Any]]) -> str:
    """Return what the systems of one paper take together, one after the other, as text.

    Of a system that continues another one only its own updates count.
    """
    by_system = {values["recipe"].rpartition("/")[2]: values for values in plans}
    hours: dict[str, float] = {}
    for values in plans:
        before = by_system.get(values["continues"])
        for name, of_all in values["hours"].items():
            hours[name] = hours.get(name, 0.0) + of_all - (before["hours"][name] if before else 0.0)
    disk = sum(values["training_bytes"] for values in plans) / 1e9
    lines = [f"All {len(plans)} systems of {plans[0]['paper']}: {disk:,.1f} GB of checkpoints and state"]
    return "\n".join([*lines, *(f"  {name:<36} {_hours(of_all):>8} h" for name, of_all in hours.items())])


def _describe_hours(values: dict[str, Any]) -> list[str]:
    """Return our estimates with notes on where they are rough, and separately what the paper reports."""
    lines = [f"Estimated hours, at the rate sustained on the system named (sources: {values['paper']}/paper.py)"]
    for name, hours in values["hours"].items():
        rate, system = values["sustained_flops_per_second"][name], values["rates_measured_on"][name]
        eight = values["hours_on_8_assumed"].get(name)
        on_eight = "" if eight is None else f"{_hours(eight):>9} h"
        lines.append(f"  {name:<36} {rate:.2e} FLOP/s on {system:<12} {_hours(hours):>8} h{on_eight}")
    if values["hours_on_8_assumed"]:
        lines.append("  (last column: on eight of them, assumed to divide the work perfectly; not measured)")
    lines += [f"  ({note})" for note in values["hours_notes"]]
    if reported := values["reported_by_the_paper"]:
        lines += [
            "",
            f"Reported hours, the paper's and not ours, of its {reported['system']} ({reported['source']})",
            f"  {reported['hardware']:<36} {reported['hours']:>38,} h",
        ]
    return lines


def _hours(hours: float) -> str:
    """Return hours with three digits, or all digits before the point."""
    return f"{hours:,.0f}" if hours >= 100 else f"{hours:.3g}"
