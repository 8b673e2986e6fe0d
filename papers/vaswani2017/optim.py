"""Vaswani2017 §5.3 "Optimizer": Adam with a learning rate that rises and then falls as step^-0.5."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from common.paper import Optimization
from common.recipe import Recipe, require


@dataclass(frozen=True)
class OptimizerConfig:
    """Recipe section `optimizer`."""

    beta1: float
    beta2: float
    epsilon: float
    warmup_steps: int
    """Number of updates until the rate is highest."""
    factor: float
    """Factor on the rate of Eq. (3), 1 in the paper."""
    clip_norm: float | None
    """Total norm to which larger gradients are scaled down. Null, as in the paper, leaves them."""

    def __post_init__(self) -> None:
        for key in ("beta1", "beta2"):
            require(0 <= getattr(self, key) < 1, f"optimizer.{key}", "lie in [0, 1)")
        for key in ("epsilon", "warmup_steps", "factor"):
            require(getattr(self, key) > 0, f"optimizer.{key}", "be positive")
        require(self.clip_norm is None or self.clip_norm > 0, "optimizer.clip_norm", "be positive or null")


def learning_rate(step: int, d_model: int, warmup_steps: int) -> float:
    """Compute Vaswani2017 Eq. (3) "lrate": d_model^-0.5 min(step^-0.5, step warmup_steps^-1.5). The first step is 1."""
    return float(d_model**-0.5 * min(step**-0.5, step * warmup_steps**-1.5))


def build_optimization(model: nn.Module, recipe: Recipe) -> Optimization:
    """Return Adam over all of the model's parameters. Its rate is Eq. (3), set before every update.

    On a GPU the rate is a tensor, which a recorded update reads. It stays the same tensor when a state is loaded.
    """
    config: OptimizerConfig = recipe.optimizer
    parameters = list(model.parameters())
    on_gpu = parameters[0].is_cuda
    lr = torch.zeros((), device=parameters[0].device) if on_gpu else 0.0
    betas = (config.beta1, config.beta2)
    # fused: one pass over the parameters per update, the same formula
    adam = torch.optim.Adam(parameters, lr=lr, betas=betas, eps=config.epsilon, fused=True, capturable=on_gpu)
    # A state may come from another processor, where the rate was a number.
    adam.register_load_state_dict_post_hook(lambda adam: adam.param_groups[0].update(lr=lr, capturable=on_gpu))

    def rate(step: int) -> float:
        return config.factor * learning_rate(step, recipe.model.d_model, config.warmup_steps)

    def clip(parameters: list[nn.Parameter]) -> None:
        assert config.clip_norm is not None
        nn.utils.clip_grad_norm_(parameters, config.clip_norm)

    return Optimization(adam, rate, clip if config.clip_norm is not None else None)
