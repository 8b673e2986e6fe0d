"""Adadelta on gradients of norm at most one: Bahdanau2014 App. B.2 "Training"."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from common.paper import Optimization
from common.recipe import Recipe, require


@dataclass(frozen=True)
class OptimizerConfig:
    """Recipe section `optimizer`."""

    rho: float
    """Decay of Adadelta's two running averages."""
    epsilon: float
    """Added to both averages inside the root."""
    step_size: float
    """Factor on Adadelta's own step. The paper has none, which means 1."""
    clip_norm: float
    """Largest L2 norm of all gradients together."""
    non_finite_factor: float
    """If that norm is not finite, every gradient becomes this factor times its parameter (GroundHog)."""

    def __post_init__(self) -> None:
        require(0 <= self.rho < 1, "optimizer.rho", "lie in [0, 1)")
        for key in ("epsilon", "step_size", "clip_norm"):
            require(getattr(self, key) > 0, f"optimizer.{key}", "be positive")
        require(0 <= self.non_finite_factor < 1, "optimizer.non_finite_factor", "lie in [0, 1)")


def build_optimization(model: nn.Module, recipe: Recipe) -> Optimization:
    """Return torch's Adadelta, which computes as GroundHog's `SGD_adadelta`, with its rules for the gradient."""
    config: OptimizerConfig = recipe.optimizer
    adadelta = torch.optim.Adadelta(
        model.parameters(),
        lr=config.step_size,
        rho=config.rho,
        eps=config.epsilon,
        capturable=any(parameter.is_cuda for parameter in model.parameters()),  # may be part of a CUDA graph
    )

    def condition(parameters: list[nn.Parameter]) -> None:
        condition_gradients(parameters, config.clip_norm, config.non_finite_factor)

    return Optimization(adadelta, condition_gradients=condition)


@torch.no_grad()
def condition_gradients(parameters: list[nn.Parameter], clip_norm: float, non_finite_factor: float) -> None:
    """Scale all gradients in place so that their joint norm is `clip_norm`, unless it is below that.

    The loss is a sum over some 2,000 words, so the norm is nearly always scaled, to exactly `clip_norm`. Adadelta then
    sees only the direction. With a mean over words this would be another algorithm.
    """
    pairs = [(parameter, parameter.grad) for parameter in parameters if parameter.grad is not None]
    norm = nn.utils.get_total_norm([gradient for _, gradient in pairs])
    # The two rules are chosen where the norm is, because a GPU would have to wait for a choice made in Python.
    finite = torch.isfinite(norm)
    scale = torch.where(norm >= clip_norm, clip_norm / norm, 1.0)
    scale = torch.where(finite, scale, non_finite_factor)
    for parameter, gradient in pairs:
        # As a gradient, the weight itself pulls the weights towards 0.
        torch.where(finite, gradient, parameter, out=gradient).mul_(scale)
