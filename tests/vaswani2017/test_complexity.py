"""The layer types of Table 1: what they compute, their FLOPs, their paths and the page on them, by known answers."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import complexity as benchmark
from benchmarks.complexity import peak_bytes
from common.errors import UserError
from common.yaml_files import read_yaml
from papers.vaswani2017.complexity import layers, page, paths
from papers.vaswani2017.complexity.layers import (
    CONVOLUTIONAL,
    DILATED,
    RECURRENT,
    RESTRICTED,
    RESTRICTED_BARE,
    SELF_ATTENTION,
    SELF_ATTENTION_BARE,
    TYPES,
    Convolutional,
    LayerType,
    RestrictedSelfAttention,
)
from papers.vaswani2017.paper import PAPER
from tests import made_results as made

each_type = pytest.mark.parametrize("kind", TYPES, ids=lambda kind: kind.label)


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(5)


def random(n: int, d: int) -> torch.Tensor:
    return torch.randn(1, n, d, dtype=torch.float64)


def with_window(r: int) -> LayerType:
    """Restricted self-attention with another window."""
    return dataclasses.replace(RESTRICTED, make=lambda d, place: RestrictedSelfAttention(d, r=r))


def with_kernel(k: int, dilated: bool) -> LayerType:
    """A convolution with another kernel."""
    return dataclasses.replace(DILATED, make=lambda d, place: Convolutional(d, k, dilation=k**place if dilated else 1))


# ----------------------------------------------------------------------------------------------------------------
# What the layers compute


@pytest.mark.parametrize("n", [1, 5, 16, 33])
@pytest.mark.parametrize("r", [1, 2, 3, 16])
def test_restricted_self_attention_is_full_attention_under_a_band(n, r):
    """In value and in gradient. A position sees (r - 1) // 2 before it and r // 2 after it."""
    layer = with_window(r).build(128).double()
    distance = torch.arange(n) - torch.arange(n).unsqueeze(1)  # of a key from a query
    band = (distance >= -((r - 1) // 2)) & (distance <= r // 2)
    x = random(n, 128).requires_grad_()
    full = layer.attention(x, layer.attention.keys_values(x), band)
    restricted = layer(x)
    assert torch.allclose(restricted, full, rtol=0, atol=1e-12)
    weights = torch.randn_like(full)
    ours, theirs = (torch.autograd.grad((y * weights).sum(), [x, *layer.parameters()]) for y in (restricted, full))
    assert all(torch.allclose(a, b, rtol=0, atol=1e-10) for a, b in zip(ours, theirs, strict=True))


def test_self_attention_without_projections_is_equation_1():
    """By NumPy, in two heads of 64."""
    x = random(7, 128)
    expected = []
    for head in np.split(x[0].numpy(), 2, axis=1):
        weights = np.exp(head @ head.T / 8)
        expected.append(weights / weights.sum(axis=1, keepdims=True) @ head)
    assert np.allclose(SELF_ATTENTION_BARE.build(128)(x)[0].numpy(), np.concatenate(expected, axis=1))


def test_the_recurrence_is_that_of_torch():
    layer = RECURRENT.build(8).double()
    theirs = nn.RNN(8, 8, bias=False, batch_first=True, dtype=torch.float64)
    theirs.weight_ih_l0, theirs.weight_hh_l0 = layer.W.weight, layer.U.weight
    x = random(11, 8)
    assert torch.allclose(layer(x), theirs(x)[0])


@pytest.mark.parametrize(("k", "dilation"), [(1, 1), (3, 1), (2, 4), (3, 9)])
def test_a_convolution_sums_over_the_positions_of_its_kernel(k, dilation):
    layer = Convolutional(4, k, dilation).double()
    x, weight = random(12, 4), layer.convolution.weight  # (d, d, k)
    for i, y in enumerate(layer(x)[0]):
        read = [(place, i - (k - 1 - place) * dilation) for place in range(k)]
        assert torch.allclose(y, sum((weight[:, :, place] @ x[0, j] for place, j in read if j >= 0), torch.zeros(4)))


# ----------------------------------------------------------------------------------------------------------------
# What they cost


@each_type
@pytest.mark.parametrize(("n", "d"), [(16, 64), (17, 128), (80, 256), (4096, 1024)])
def test_flops_are_those_of_the_formula(kind, n, d):
    """On the meta device, where nothing is computed. The formula as printed is that of the code."""
    if kind is RECURRENT:
        n = min(n, 80)
    with torch.device("meta"):
        layer, x = kind.make(d, 1), torch.empty(1, n, d)
        with FlopCounterMode(display=False) as counter:
            layer(x)
    printed = kind.formula.replace("²", "**2").replace(" ", "*").replace("*+*", "+")
    values = {"n": n, "d": d, "k": layers.KERNEL, "r": layers.WINDOW}
    assert counter.get_total_flops() == kind.flops(n, d) == eval(printed, values)


@pytest.mark.parametrize("kind", [RESTRICTED, RESTRICTED_BARE], ids=lambda kind: kind.label)
def test_restricted_self_attention_needs_memory_in_proportion_to_n(kind):
    """So nothing in it is n x n. Of full self-attention the same doubling takes four times as much."""

    def growth(kind: LayerType) -> float:
        layer = kind.build(64)
        with torch.no_grad():
            short, long = (peak_bytes(lambda n=n: layer(torch.zeros(1, n, 64))) for n in (512, 1024))
        return long / short

    assert growth(kind) == pytest.approx(2, abs=0.02) and growth(SELF_ATTENTION_BARE) > 3.5


# ----------------------------------------------------------------------------------------------------------------
# Chains and paths


@each_type
@pytest.mark.parametrize("n", [1, 2, 7, 40])
def test_sequential_operations_of_a_layer(kind, n):
    """Queries, weights, values and output of attention; one product for each step of a recurrence."""
    expected = {SELF_ATTENTION: 4, RESTRICTED: 4, SELF_ATTENTION_BARE: 2, RESTRICTED_BARE: 2, RECURRENT: n}
    assert paths.sequential_operations(kind.build(2), n, 2) == expected.get(kind, 1)


@pytest.mark.parametrize("n", [2, 3, 9, 10, 27, 28, 50])
def test_path_lengths_of_the_types(n):
    """The values' path of attention has three products, or one without projections."""
    expected = {
        SELF_ATTENTION: (3, 1),
        SELF_ATTENTION_BARE: (1, 1),
        RECURRENT: (n, 1),
        CONVOLUTIONAL: (math.ceil((n - 1) / 2),) * 2,
        DILATED: (math.ceil(round(math.log(n, 3), 9)),) * 2,
        RESTRICTED: (3 * math.ceil((n - 1) / 7), math.ceil((n - 1) / 7)),
        RESTRICTED_BARE: (math.ceil((n - 1) / 7),) * 2,
    }
    assert {kind: paths.path_length(kind, n, 2) for kind in TYPES} == expected


@pytest.mark.parametrize("n", [4, 16, 17])
def test_path_lengths_of_other_kernels_and_windows(n):
    for k in (2, 4, 5):
        assert paths.path_length(with_kernel(k, False), n, 2)[1] == math.ceil((n - 1) / (k - 1))
        assert paths.path_length(with_kernel(k, True), n, 2)[1] == paths.layers_to_connect(n, k)
    for r in (3, 4, 9):
        assert paths.path_length(with_window(r), n, 2)[1] == math.ceil((n - 1) / ((r - 1) // 2))


def test_layers_that_connect():
    assert [paths.layers_to_connect(n) for n in (1, 2, 3, 4, 9, 10, 27, 28)] == [1, 1, 1, 2, 2, 3, 3, 4]


@each_type
def test_the_path_from_last_to_first_is_the_longest(kind):
    """Of all pairs of positions that a stack as deep as that path needs connects."""
    n = 17
    length, depth = paths.path_length(kind, n, 2)
    longest = 0.0
    for start in range(n):
        passed = torch.full((n,), math.inf)
        passed[start] = 0
        for place in range(depth):
            passed = paths.passed_below(kind.build(2, place), passed, 2)
        longest = max(longest, float(passed[passed.isfinite()].max()))
    assert longest == length


@each_type
def test_a_gradient_comes_exactly_where_it_is_said_to_come(kind):
    """Beside the backward pass of the layer, from each position."""
    n, layer = 20, kind.build(2, 1).double()
    for start in range(n):
        x = random(n, 2).requires_grad_()
        (gradient,) = torch.autograd.grad(layer(x)[0, start].sum(), x)
        passed = torch.full((n,), math.inf)
        passed[start] = 0
        reached = paths.passed_below(layer, passed, 2).isfinite()
        assert reached.tolist() == gradient[0].abs().sum(-1).gt(0).tolist()


# ----------------------------------------------------------------------------------------------------------------
# Fit and page


def test_exponents_of_known_costs():
    n, d = zip(*itertools.product([16, 64, 4096], [64, 128, 1024]), strict=True)
    cost = [3e-9 * a**1.5 * b**0.25 for a, b in zip(n, d, strict=True)]
    assert page.exponents(n, d, cost) == pytest.approx((1.5, 0.25))


def test_the_range_of_exponents_is_that_of_the_rounds():
    """Three rounds of n^1 d^2, n^1.1 d^2 and n^1.3 d^2."""
    sizes = [*itertools.product([16, 256], [64, 512])]
    cells = [page.Cell("x", n, d, 1, 1, [n**a * d**2 for a in (1.0, 1.1, 1.3)]) for n, d in sizes]
    assert page.fitted(cells, lambda cell: cell.seconds) == ["1.13 (1.00 to 1.30)", "2.00 (2.00 to 2.00)"]
    assert page.fitted(cells, lambda cell: cell.seconds[:1]) == ["1.00", "2.00"]
    assert page.fitted(cells[:2], lambda cell: cell.seconds) == ["", ""]


def test_exponents_that_the_paper_states():
    rows = read_yaml(PAPER.root / "reported.yaml")["tables"]["table1"]["rows"]
    stated = {name: [page.stated_exponent(row["complexity"], letter) for letter in "nd"] for name, row in rows.items()}
    assert stated == {"self-attention": [2, 1], "recurrent": [1, 2], "convolutional": [1, 2], "restricted": [1, 1]}
    assert {kind.row for kind in TYPES} == {*rows}


@pytest.fixture
def measurement(tmp_path) -> Path:
    """Made up: every layer takes a nanosecond for each FLOP, and the recurrent one takes half of it."""
    n, d = (16, 256, 1024), (64, 256, 512)
    cells = [
        {
            "layer": kind.label,
            "n": length,
            "d": width,
            "flops": kind.flops(length, width),
            "peak_bytes": length << 20,
            "seconds": [kind.flops(length, width) * 1e-9 / (2 if kind is RECURRENT else 1)] * 3,
        }
        for kind in TYPES
        for length in n
        for width in d
    ]
    counts = [
        {"layer": kind.label, "n": length, "sequential_operations": 1234, "path_length": 30, "layers": 10}
        for kind in TYPES
        for length in n
    ]
    about = {"rounds": 3, "seed": 1, "seconds": 60.0, "cpu_seconds": 59.0, "matmul_flops_per_second": 1e9}
    machine = {**vars(made.MACHINE), "hardware": "made up"}
    record = {**about, "environment": machine, "commit": "0" * 40, "dirty": False, "counts": counts, "cells": cells}
    path = tmp_path / "complexity.json"
    path.write_text(json.dumps(record), encoding="utf-8")
    return path


def test_each_number_stands_in_its_own_place(measurement):
    page.write_page(measurement)
    text = measurement.with_suffix(".md").read_text(encoding="utf-8")
    growth = {row["layer"]: row for row in made.cells(text, "## Complexity per layer")}
    row = growth[SELF_ATTENTION_BARE.label]
    assert [row[name] for name in ("stated", "FLOPs", "n: stated", "n: FLOPs", "d: stated", "d: FLOPs")] == [
        "O(n^2 d)", "4 n² d", "2", "2.00", "1", "1.00",
    ]  # fmt: skip
    assert row["n: time, large (range)"] == "2.00 (2.00 to 2.00)"
    assert 1 < float(growth[SELF_ATTENTION.label]["n: FLOPs"]) < 2
    sequential = made.cells(text, "## Sequential operations")
    assert [row["stated"] for row in sequential] == ["O(1)", "O(1)", "O(n)", "O(1)", "O(1)", "O(1)", "O(1)"]
    assert {row["n = 1,024"] for row in sequential} == {"1,234"}
    path = made.cells(text, "## Maximum path length")
    assert [row["stated"] for row in path] == ["O(1)", "O(1)", "O(n)", "O(n/k)", "O(log_k n)", "O(n/r)", "O(n/r)"]
    assert {row["n = 16"] for row in path} == {"30 (10 layers)"}
    assert "made up" in text and "(complexity.png)" in text
    assert measurement.with_suffix(".png").read_bytes().startswith(b"\x89PNG")


def test_time_and_memory_are_shown_for_the_base_models_width(measurement):
    shown = page.Measured(measurement)
    assert shown.shown == 512
    time = page.length_table(shown, lambda cell: f"{1000 * cell.time:,.3g}", "CPU ms")
    assert f"| {RESTRICTED_BARE.label} |  0.524 |    8.39 |      33.6 |" in time  # 4 x 16 x n x 512 ns


def test_where_self_attention_costs_less_than_a_recurrence(measurement):
    """By FLOPs without projections exactly where n < d. A recurrence twice as fast per FLOP moves it to n < d / 2."""
    page.write_page(measurement)
    rows = made.cells(measurement.with_suffix(".md").read_text(encoding="utf-8"), "## Self-attention or recurrence")
    bare, whole = SELF_ATTENTION_BARE.label, SELF_ATTENTION.label
    assert [row[f"FLOPs: {bare}"] for row in rows] == ["4 of 4", "0 of 1", "0 of 4"]
    assert [row[f"time: {bare}"] for row in rows] == ["3 of 4", "0 of 1", "0 of 4"]
    assert {row[f"FLOPs: {whole}"][0] for row in rows} == {"0"}


def test_what_section_4_concludes_is_decided_by_what_was_measured(measurement):
    """Every count is made up to be the same, so what grows with n fails; a convolution takes 2 x 1.5 times as long."""
    rows = made.cells(page.claims_table(page.Measured(measurement)), "")
    assert [(row["verdict"], row["evidence"]) for row in rows[5:]] == [
        ("holds", "4 of 4"),
        ("fails", "3 of 4"),
        ("fails", "0 of 4"),
        ("fails", "0 of 4"),
        ("fails", "1.50 to 1.50 times"),
        ("holds", "3.00 to 3.00 times"),
    ]
    assert {row["verdict"] for row in rows[:5]} == {"fails"}
    record = json.loads(measurement.read_text(encoding="utf-8"))
    for count in record["counts"]:
        if count["layer"] == RECURRENT.label:
            count |= {"sequential_operations": count["n"], "path_length": count["n"]}
        if count["layer"] in (CONVOLUTIONAL.label, RESTRICTED_BARE.label):
            count |= {"path_length": count["n"] // 2}
        count["layers"] = {16: 3, 256: 6, 1024: 7}[count["n"]]
    measurement.write_text(json.dumps(record), encoding="utf-8")
    rows = made.cells(page.claims_table(page.Measured(measurement)), "")
    assert [row["verdict"] for row in rows[:5]] == ["holds"] * 5
    assert all(row["evidence"].endswith("8 to 512, n to the power of 1.00") for row in rows[3:5])


def without(part: str) -> Callable[[dict[str, Any]], object]:
    """Return what takes the last row out of a part of a measurement."""
    return lambda record: record[part].pop()


@pytest.mark.parametrize(
    "damage",
    [without("counts"), without("cells"), lambda record: record["cells"].clear(), lambda record: record.pop("seed")],
)
def test_a_damaged_measurement_is_refused_by_name(damage, measurement):
    record = json.loads(measurement.read_text(encoding="utf-8"))
    damage(record)
    measurement.write_text(json.dumps(record), encoding="utf-8")
    with pytest.raises(UserError, match=r"complexity\.json.*python -m benchmarks\.complexity$"):
        page.write_page(measurement)
    measurement.write_text('{"cells": [', encoding="utf-8")
    with pytest.raises(UserError, match="missing or damaged; measure it"):
        page.write_page(measurement)


def test_widths_of_other_than_64_are_refused(capsys):
    with pytest.raises(SystemExit) as stop:
        benchmark.main(["--d", "64", "191"])
    assert stop.value.code == 2 and "multiples of 64" in capsys.readouterr().err.splitlines()[-1]


def test_the_page_is_current(tmp_path):
    copy = tmp_path / page.RESULT.name
    copy.write_bytes(page.RESULT.read_bytes())
    page.write_page(copy)
    kept = page.RESULT.with_suffix(".md").read_text(encoding="utf-8")
    assert copy.with_suffix(".md").read_text(encoding="utf-8") == kept, "run: python -m papers.vaswani2017.complexity"
    assert page.RESULT.with_suffix(".png").exists()


def test_the_measured_flops_and_counts_are_the_expected_ones():
    measured = page.Measured(page.RESULT)
    kinds = {kind.label: kind for kind in TYPES}
    assert all(cell.flops == kinds[cell.layer].flops(cell.n, cell.d) for cell in measured.cells)
    counted = {(count.layer, count.n): count for count in measured.record.counts}
    assert {*kinds} == {layer for layer, _ in counted} and {16, 4096} <= {n for _, n in counted}
    for n in measured.n:
        assert counted[RECURRENT.label, n].path_length == n == counted[RECURRENT.label, n].sequential_operations
        assert counted[DILATED.label, n].path_length == paths.layers_to_connect(n)
