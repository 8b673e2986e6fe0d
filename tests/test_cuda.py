"""A GPU computes what the processor computes. Skipped without a GPU."""

from __future__ import annotations

import copy
import random
from pathlib import Path

import pytest
import torch
from torch import nn

from common.contract import Batch, pad
from common.decode.translate import decode_ids
from common.ids import EOS, UNK
from common.paper import Paper
from common.prepare.encoded import ParallelIds, write_side
from common.progress import Standing
from common.recipe import Recipe
from common.run.record import matmul_rate
from common.train.loop import Trainer, TrainingText
from common.train.loss import compiled, cross_entropy_sum
from papers.bahdanau2014.paper import PAPER as BAHDANAU
from papers.vaswani2017.paper import PAPER as VASWANI
from tests.conftest import TINY, Command

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")

WORDS = 40
SHARED = [f"vocabulary_size={WORDS}", "run.threads=1", "run.device=cuda", "run.decode_positions=400"]
RECURRENT = ["hidden=24", "embedding=16", "alignment=20", "maxout=12"]
SYSTEMS = {
    "rnnsearch": (BAHDANAU, "rnnsearch-50", RECURRENT),
    "rnnencdec": (BAHDANAU, "rnnencdec-50", RECURRENT),
    "transformer": (VASWANI, "base", ["N=2", "d_model=32", "d_ff=48", "h=4", "d_k=6", "d_v=10"]),
}


def recipe_of(system: str, *overrides: str) -> tuple[Paper, Recipe]:
    plug, name, sizes = SYSTEMS[system]
    return plug, plug.recipe(name, [*SHARED, *sizes, *overrides])


def twins(system: str, dtype: torch.dtype, *overrides: str) -> tuple[nn.Module, nn.Module]:
    """The same random weights on both devices, large enough for the softmax to have preferences."""
    plug, recipe = recipe_of(system, *overrides)
    torch.manual_seed(5)
    model = plug.build_model(recipe).to(dtype).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return model, copy.deepcopy(model).cuda()


def sentences(count: int, seed: int) -> list[list[int]]:
    draw = random.Random(seed)
    return [[draw.randrange(UNK, WORDS) for _ in range(draw.randint(1, 9))] for _ in range(count)]


def batch() -> Batch:
    sides = [pad([[*sentence, EOS] for sentence in sentences(7, seed)]) for seed in (1, 2)]
    return Batch(*sides[0], *sides[1])


def assert_same_gradients(here: nn.Module, there: nn.Module) -> None:
    for (name, ours), theirs in zip(here.named_parameters(), there.parameters(), strict=True):
        assert (ours.grad is None) == (theirs.grad is None), name
        if ours.grad is not None and theirs.grad is not None:
            torch.testing.assert_close(theirs.grad.cpu(), ours.grad, rtol=1e-4, atol=1e-5, msg=name)


@pytest.mark.parametrize("system", SYSTEMS)
def test_loss_and_gradients_are_the_processors(system):
    here, there = twins(system, torch.float64)
    losses = []
    for model, device in ((here, torch.device("cpu")), (there, torch.device("cuda"))):
        placed = batch().to(device)
        losses.append(cross_entropy_sum(model(placed), placed.target, placed.target_mask, 0.1))
        losses[-1].backward()
    # The loss is taken in float32 whatever the model computes in.
    torch.testing.assert_close(losses[1].cpu(), losses[0], rtol=1e-5, atol=0)
    assert_same_gradients(here, there)


@pytest.mark.parametrize("system", SYSTEMS)
def test_logits_are_the_processors(system):
    here, there = twins(system, torch.float64)
    with torch.inference_mode():
        torch.testing.assert_close(there(batch().to(torch.device("cuda"))).cpu(), here(batch()), rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("system", SYSTEMS)
def test_beam_search_finds_what_the_processor_finds(system):
    here, there = twins(system, torch.float64)
    decode = recipe_of(system)[1].decode
    found, expected = (decode_ids(model, sentences(23, 3), decode) for model in (there, here))
    assert [hypothesis.tokens for hypothesis in found] == [hypothesis.tokens for hypothesis in expected]
    assert [hypothesis.score for hypothesis in found] == pytest.approx([h.score for h in expected], rel=1e-5)


@pytest.mark.parametrize("system", SYSTEMS)
def test_bfloat16_stays_near_float32(system):
    """Eight bits of mantissa: the loss of the same weights moves by less than two percent."""
    _, there = twins(system, torch.float32)
    placed = batch().to(torch.device("cuda"))
    losses = []
    for mixed in (False, True):
        with torch.no_grad(), torch.autocast("cuda", dtype=torch.bfloat16, enabled=mixed):
            logits = there(placed)
        losses.append(float(cross_entropy_sum(logits, placed.target, placed.target_mask)))
    assert losses[1] != losses[0]
    assert losses[1] == pytest.approx(losses[0], rel=0.02)


def accelerated(system: str, dtype: torch.dtype) -> tuple[nn.Module, nn.Module]:
    """The readable model on the processor and the fast one on the GPU, to be trained, with the same random weights."""
    here, _ = twins(system, dtype, "run.path=readable")
    plug, recipe = recipe_of(system, "run.path=fast", *(["P_drop=0"] if system == "transformer" else []))
    there = plug.build_model(recipe).to(dtype).cuda().train()
    there.load_state_dict(here.state_dict())
    torch.compiler.reset()
    plug.accelerate(there)
    return here, there


@pytest.mark.parametrize("system", SYSTEMS)
def test_an_accelerated_model_has_the_processors_loss_and_gradients(system):
    """In float64, with the loss compiled as well, which takes it in float32."""
    here, there = accelerated(system, torch.float64)
    losses = []
    for model, compute, device in ((here, cross_entropy_sum, "cpu"), (there, compiled(), "cuda")):
        placed = batch().to(torch.device(device))
        losses.append(compute(model(placed), placed.target, placed.target_mask, 0.1))
        losses[-1].backward()
    torch.testing.assert_close(losses[1].cpu(), losses[0], rtol=1e-5, atol=0)
    assert_same_gradients(here, there)


def test_accelerated_bfloat16_stays_near_float32_and_repeats_itself_to_the_bit():
    """A gradient moves by less than five percent, and two passes over the same minibatch give the same."""
    here, there = accelerated("transformer", torch.float32)
    placed = batch().to(torch.device("cuda"))
    found = []
    for _ in range(2):
        there.zero_grad()
        with torch.autocast("cuda", dtype=torch.bfloat16):
            logits = there(placed)
        compiled()(logits, placed.target, placed.target_mask, 0.1).backward()
        found.append(torch.cat([parameter.grad.flatten() for parameter in there.parameters()]).cpu())
    assert torch.equal(*found)
    pairs = batch()
    cross_entropy_sum(here(pairs), pairs.target, pairs.target_mask, 0.1).backward()
    expected = torch.cat([parameter.grad.flatten() for parameter in here.parameters()])
    assert float((found[0] - expected).norm() / expected.norm()) < 0.05


def test_a_forward_and_backward_pass_can_be_recorded():
    """A CUDA graph of it refuses whatever would read a value back."""
    _, there = accelerated("transformer", torch.float32)
    placed = batch().to(torch.device("cuda"))

    def work() -> None:
        with torch.autocast("cuda", dtype=torch.bfloat16):
            logits = there(placed)
        compiled()(logits, placed.target, placed.target_mask, 0.1).backward()

    work()
    expected = [parameter.grad.clone() for parameter in there.parameters()]
    there.zero_grad(set_to_none=False)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        work()
    graph.replay()
    for parameter, gradient in zip(there.parameters(), expected, strict=True):
        assert torch.equal(parameter.grad, gradient)


def test_adam_reads_its_rate_from_a_tensor_that_a_loaded_state_leaves_in_place():
    plug, recipe = recipe_of("transformer")
    model = plug.build_model(recipe).cuda()
    optimizer = plug.build_optimization(model, recipe).optimizer
    rate = optimizer.param_groups[0]["lr"]
    here = plug.build_optimization(plug.build_model(recipe), recipe).optimizer
    optimizer.load_state_dict(here.state_dict())  # of a CPU, where the rate is a number
    (group,) = optimizer.param_groups
    assert group["lr"] is rate and rate.is_cuda and group["capturable"]


@pytest.mark.parametrize("path", ["readable", "fast"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("system", SYSTEMS)
def test_a_resumed_training_goes_on_where_it_was(system, precision, path, tmp_path):
    """Thirty updates give the same weights as fifteen and then, from the saved state, fifteen more.

    On the fast path the model is accelerated, and its updates are recorded.
    """
    settings = ["batch.tokens=null", "batch.sentences=16", "state_every=15", "checkpoint_every=15", "log_every=5"]
    settings += ["evaluate.average=1", f"precision={precision}", f"run.path={path}"]
    for split, count in (("train", 300), ("valid", 30)):
        for side, seed in (("source", 11), ("target", 12)):
            write_side(tmp_path, split, side, sentences(count, seed), WORDS)
    corpus = TrainingText(ParallelIds.open(tmp_path, "train"), ParallelIds.open(tmp_path, "valid"), "toy")

    def train(folder: Path, steps: int) -> tuple[nn.Module, int]:
        """Return the model, and how many lines said where the training was."""
        folder.mkdir(exist_ok=True)
        plug, recipe = recipe_of(system, *settings, f"train.steps={steps}")
        torch.manual_seed(1)
        model = plug.build_model(recipe).cuda()
        said: list[Standing | str] = []
        trainer = Trainer(model, plug.build_optimization(model, recipe), corpus, recipe, folder)
        assert trainer.recorded == (path == "fast")
        if trainer.recorded:
            torch.compiler.reset()  # a training goes on in a new process
            plug.accelerate(model)
        trainer.resume()
        trainer.fit(said.append)
        return model, sum(isinstance(line, Standing) for line in said)

    whole, said = train(tmp_path / "whole", 30)
    train(tmp_path / "parts", 15)
    parts, said_after = train(tmp_path / "parts", 30)
    assert [said, said_after] == [6, 3]
    for (name, ours), theirs in zip(whole.named_parameters(), parts.named_parameters(), strict=True):
        assert torch.equal(ours, theirs[1]), name


def test_the_rate_of_matrix_products_is_the_gpus():
    """It is above one teraFLOP/s, which would be out of reach if time were lost between launches."""
    assert matmul_rate(torch.device("cuda")) > 1e12


@pytest.mark.parametrize(("paper", "recipe"), [("bahdanau2014", "demo/rnnsearch-50"), ("vaswani2017", "demo/base")])
def test_from_the_command_line(paper, recipe, tmp_path, command: Command):
    out = tmp_path / "run"
    runs = ["--runs", tmp_path]
    command(f"papers.{paper}", "train", recipe, *TINY, "run.device=cuda", "--out", out, "--score", *runs)
    text = command(f"papers.{paper}", "translate", out, stdin="The farmer sees a house.\n\nA dog.\n").stdout
    assert text.count("\n") == 3 and text.split("\n")[1] == ""
    assert '"hardware": "1x ' in (out / "result.json").read_text(encoding="utf-8")
