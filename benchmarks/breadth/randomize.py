"""Random weights that mean something: outputs depend on inputs, and BatchNorms know their data.

A fresh network is a bad test. BatchNorms hold statistics of nothing, residual branches and
position tables start at zero, so whatever goes wrong in them is multiplied by zero.
"""

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from benchmarks.breadth.candidate import Candidate, run

_SAMPLES = 8


def randomize(candidate: Candidate, generator: torch.Generator) -> None:
    """Move parameters off their constant initial values, and calibrate BatchNorms.

    Args:
        candidate: Its model is changed in place and ends in inference mode.
        generator: Source of random numbers.
    """
    with torch.no_grad():
        for parameter in candidate.model.parameters():
            if parameter.is_floating_point() and bool((parameter == parameter.flatten()[0]).all()):
                parameter.copy_(_jittered(parameter, generator))
        _calibrate(candidate, generator)


def _jittered(parameter: Tensor, generator: torch.Generator) -> Tensor:
    """Zeros become small noise; another constant is multiplied by 0.5 to 1.5."""
    constant = float(parameter.flatten()[0])
    if constant == 0:
        fan_in = parameter[0].numel() if parameter.ndim > 1 else 100
        return torch.randn(parameter.shape, generator=generator) * fan_in**-0.5
    factor = 0.5 + torch.rand(parameter.shape, generator=generator)
    return factor * (constant if abs(constant) > 0.1 else 0.1)


def _calibrate(candidate: Candidate, generator: torch.Generator) -> None:
    norms = [module for module in candidate.model.modules() if isinstance(module, _BatchNorm)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a cumulative average
        norm.train()
    if norms:
        run(candidate.model, candidate.inputs(_SAMPLES, generator))
    candidate.model.eval()
