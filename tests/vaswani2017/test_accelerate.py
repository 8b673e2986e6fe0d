"""What `accelerate` compiles computes what model.py does, and is compiled once.

All tests but the last stop the compiler before it writes code, which takes most of the time.
"""

from __future__ import annotations

import random
import shutil
import weakref
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor
from torch._dynamo.utils import counters

from common.contract import Batch, pad
from common.ids import EOS
from common.train.loss import compiled, cross_entropy_sum
from papers.vaswani2017.authors import AuthorsConfig, AuthorsTransformer
from papers.vaswani2017.fast import LONGEST, FastTransformer, add_and_norm
from papers.vaswani2017.model import Sinusoids, Transformer
from papers.vaswani2017.optim import build_optimization
from papers.vaswani2017.paper import PAPER

WORDS = 17
CONFIGS = {
    "sinusoidal": AuthorsConfig(3, 12, 10, 3, 5, 7, 0.0, False, "sinusoidal", None),
    "learned": AuthorsConfig(2, 12, 10, 3, 4, 4, 0.0, True, "learned", 4),
    "authors": AuthorsConfig(
        2, 12, 10, 3, 4, 4, 0.0, True, "sinusoidal", None, sinusoids="halves", target_spaces=3, embedding_matrices=3
    ),
}
every_config = pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())


@pytest.fixture
def no_code() -> Iterator[None]:
    """Trace and differentiate as the compiler does, and run the result by PyTorch's own kernels."""
    with torch.compiler.set_stance("default", force_backend="aot_eager"):
        yield


@pytest.fixture
def from_scratch() -> None:
    """Forget what was compiled before. Otherwise models of one kind share it."""
    torch.compiler.reset()
    counters.clear()


def twins(config: AuthorsConfig, dtype: torch.dtype = torch.float64) -> tuple[Transformer, FastTransformer]:
    """Return model.py's model and the accelerated one, to be trained, with the same weights, none of them zero."""
    torch.manual_seed(7)
    readable = AuthorsTransformer(config, WORDS).to(dtype).train()
    for parameter in readable.parameters():
        torch.nn.init.normal_(parameter, 0.0, 0.4)
    fast = FastTransformer(config, WORDS).to(dtype).train()
    fast.load_state_dict(readable.state_dict())
    PAPER.accelerate(fast)
    for table in readable.modules():
        if isinstance(table, Sinusoids):  # `to` has rounded the table that was not made anew
            table(0, LONGEST)
    return readable, fast


def batch(seed: int) -> Batch:
    """Return 2 to 9 pairs of 1 to 9 words and EOS."""
    draw = random.Random(seed)
    rows = draw.randint(2, 9)
    sides = [
        pad([[*(draw.randrange(1, WORDS) for _ in range(draw.randint(1, 9))), EOS] for _ in range(rows)])
        for _ in range(2)
    ]
    return Batch(*sides[0], *sides[1])


def loss_and_gradients(model: Transformer, pairs: Batch, mixed: bool = False) -> list[Tensor]:
    """Return the loss over all words but padding, and its gradient by every parameter."""
    with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
        logits = model(pairs)
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    chosen = logits.log_softmax(-1).gather(2, pairs.target.unsqueeze(2)).squeeze(2)
    loss = -(chosen * pairs.target_mask).sum()
    return [loss.detach(), *torch.autograd.grad(loss, list(model.parameters()))]


def assert_same(ours: list[Tensor], theirs: list[Tensor], tolerance: float = 1e-10) -> None:
    for value, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(value, other, rtol=tolerance, atol=tolerance)


def test_layers_of_a_kind_are_compiled_once_and_other_shapes_compile_nothing(from_scratch: None, no_code: None) -> None:
    """Three layers in each stack make three compiled functions: embedding, encoder layer, decoder layer."""
    _, fast = twins(CONFIGS["sinusoidal"])
    square = batch(0)
    assert square.source.shape == square.target.shape  # equal at first, unlike later
    loss = compiled()
    shapes = set()
    for seed in range(12):
        pairs = batch(seed)
        shapes.add((pairs.source.shape, pairs.target.shape))
        with torch.compiler.set_stance("default" if seed < 2 else "fail_on_recompile"):
            logits = fast(pairs)
        if seed < 2:
            loss(logits, pairs.target, pairs.target_mask, 0.1).backward()
            assert counters["stats"]["unique_graphs"] == 4
    assert len(shapes) > 9


@every_config
def test_loss_and_gradients_are_the_readable_models(config: AuthorsConfig, no_code: None) -> None:
    readable, fast = twins(config)
    for seed in range(3):
        assert_same(loss_and_gradients(fast, batch(seed)), loss_and_gradients(readable, batch(seed)))


@every_config
def test_ten_updates_stay_together(config: AuthorsConfig, no_code: None) -> None:
    models = twins(config)
    for model in models:
        optimization = build_optimization(model, PAPER.recipe("base", ["optimizer.epsilon=1.0e-6"]))
        assert optimization.learning_rate is not None
        for step in range(1, 11):
            optimization.optimizer.zero_grad()
            pairs = batch(step)
            logits = model(pairs).log_softmax(-1)
            (-logits.gather(2, pairs.target.unsqueeze(2)).squeeze(2)[pairs.target_mask].sum()).backward()
            for group in optimization.optimizer.param_groups:
                group["lr"] = 1000 * optimization.learning_rate(step)
            optimization.optimizer.step()
    assert_same(list(models[1].state_dict().values()), list(models[0].state_dict().values()), 1e-8)


def test_bfloat16_stays_near(no_code: None) -> None:
    """Eight bits of mantissa: the loss moves by less than two percent, all gradients together by less than five."""
    readable, fast = twins(CONFIGS["sinusoidal"], torch.float32)
    pairs = batch(3)
    expected = loss_and_gradients(readable, pairs)
    with torch.autocast("cpu", torch.bfloat16):
        assert fast._stream(pairs.source, fast.E, fast.source_positions).dtype == torch.bfloat16
    found = loss_and_gradients(fast, pairs, mixed=True)
    assert float(found[0]) == pytest.approx(float(expected[0]), rel=0.02)
    assert all(gradient.dtype == torch.float32 for gradient in found)
    together, apart = (torch.cat([g.flatten() for g in gradients[1:]]) for gradients in (expected, found))
    assert float((apart - together).norm() / together.norm()) < 0.05
    assert fast._stream(pairs.source, fast.E, fast.source_positions).dtype == torch.float32


def test_a_norm_is_computed_in_float32() -> None:
    """A mean of 300 leaves bfloat16 no digits for the spread around it; float32 keeps them."""
    _, fast = twins(CONFIGS["sinusoidal"], torch.float32)
    own = fast.encoder[0].feed_forward_norm
    x, sublayer = torch.full((1, 2, 12), 300.0), torch.randn(1, 2, 12)
    rounded = add_and_norm(own, x.bfloat16(), sublayer.bfloat16())
    assert rounded.dtype == torch.bfloat16
    expected = own(x, sublayer.bfloat16().float())
    torch.testing.assert_close(rounded, expected.bfloat16(), rtol=0.02, atol=0.02)


@every_config
def test_rounded_shapes_change_nothing(config: AuthorsConfig, no_code: None) -> None:
    """More columns of padding, and more rows: one EOS in the source, no word in the target."""
    _, fast = twins(config)
    for seed in range(2):
        pairs = batch(seed)
        (B, S), T = pairs.source.shape, pairs.target.shape[1]
        source, target = torch.full((B + 3, S + 4), EOS), torch.full((B + 3, T + 2), EOS)
        source_mask, target_mask = torch.zeros_like(source, dtype=torch.bool), torch.zeros_like(target).bool()
        source[:B, :S], target[:B, :T] = pairs.source, pairs.target
        source_mask[:B, :S], target_mask[:B, :T] = pairs.source_mask, pairs.target_mask
        source_mask[B:, 0] = True
        rounded = Batch(source, source_mask, target, target_mask)
        assert_same(loss_and_gradients(fast, rounded), loss_and_gradients(fast, pairs))


def test_dropout_is_drawn_anew_and_by_the_rate(no_code: None) -> None:
    _, fast = twins(AuthorsConfig(1, 64, 8, 1, 8, 8, 0.25, False, "sinusoidal", None))
    words = batch(0).source
    drawn = [fast._stream(words, fast.matrices.source, fast.source_positions) for _ in range(2)]
    assert not torch.equal(*drawn)
    assert float((drawn[0] == 0).double().mean()) == pytest.approx(0.25, abs=0.03)


def test_a_table_that_training_has_read_is_kept_when_a_longer_one_is_made(no_code: None) -> None:
    """A CUDA graph reads it where it was."""
    _, fast = twins(CONFIGS["sinusoidal"])
    read = []
    for length in (3, LONGEST + 1, 2 * LONGEST + 1):
        fast._stream(torch.ones(1, length, dtype=torch.long), fast.matrices.source, fast.source_positions)
        read.append(weakref.ref(fast.source_positions.PE))
    assert len({id(table()) for table in read}) == 3 and None not in [table() for table in read]


def test_evaluation_and_decoding_are_not_compiled(from_scratch: None) -> None:
    _, fast = twins(CONFIGS["sinusoidal"])
    with torch.compiler.set_stance("fail_on_recompile"), torch.inference_mode():
        fast.eval()(batch(0))
        fast.encode(batch(0).source, batch(0).source_mask)


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")
def test_the_compilers_own_code_computes_the_same(from_scratch: None) -> None:
    readable, fast = twins(CONFIGS["sinusoidal"])
    loss = compiled()
    for seed in range(2):
        pairs = batch(seed)
        assert_same(loss_and_gradients(fast, pairs), loss_and_gradients(readable, pairs))
        logits = readable(pairs).bfloat16().detach().requires_grad_()
        found = []
        for function in (loss, cross_entropy_sum):
            value = function(logits, pairs.target, pairs.target_mask, 0.1)
            found.append([value.detach(), *torch.autograd.grad(value / 3, logits)])
        assert found[0][1].dtype == torch.bfloat16
        assert_same(*found, 1e-5)
    assert counters["stats"]["unique_graphs"] == 4
