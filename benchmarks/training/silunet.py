"""Train the network `silunet` of the zoo from scratch, and keep the moving average of its weights.

    python -m benchmarks.training.silunet
    python -m benchmarks.training.silunet --epochs 2 --output silunet.safetensors

The data are the 20,000 training images of CIFAR-10 in `TERSOR_ASSETS`, randomly cropped, mirrored
and with a hole (arXiv 1708.04552); accuracy is that on the 10,000 test images.
"""

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim.lr_scheduler import OneCycleLR
from torch.optim.swa_utils import AveragedModel

from benchmarks.training.augment import batches
from benchmarks.zoo import MODELS, accuracy
from benchmarks.zoo.data import cifar10_train
from benchmarks.zoo.silunet import SiluNet, weights_path


@dataclass(frozen=True)
class Recipe:
    """How to train: AdamW under a learning rate that rises, then falls to zero.

    Attributes:
        epochs: Passes over the data.
        batch: Images per step.
        rate: Largest learning rate.
        rise: Share of the steps in which the learning rate rises.
        decay: Weight decay of the kernels; biases and BatchNorm have none.
        smoothing: Share of each label that is spread over all classes.
        memory: Factor of the moving average of weights and statistics, per step.
        seed: Draws the first weights, the order of the images and their augmentation.
    """

    epochs: int = 36
    batch: int = 64
    rate: float = 4e-3
    rise: float = 0.2
    decay: float = 0.05
    smoothing: float = 0.1
    memory: float = 0.998
    seed: int = 0


def main() -> None:
    """Train, save and print the accuracy as it goes."""
    args = _parser().parse_args()
    torch.set_num_threads(args.threads)
    recipe = Recipe(args.epochs, args.batch, args.rate, decay=args.decay, seed=args.seed)
    print(recipe, flush=True)
    images, labels = MODELS["silunet"].data()
    start = time.monotonic()
    for epoch, (loss, network) in enumerate(train(recipe), 1):
        line = f"epoch {epoch}: loss {loss:.3f}, {time.monotonic() - start:.0f} s"
        if epoch % args.every == 0 or epoch == recipe.epochs:
            save(network, args.output)
            line += f", top-1 {accuracy(network, images, labels):.2f} %"
        print(line, flush=True)


def train(recipe: Recipe) -> Iterator[tuple[float, nn.Module]]:
    """After each epoch its mean loss, and the averaged network in eval mode."""
    torch.manual_seed(recipe.seed)
    pixels, labels = cifar10_train()
    normalize = MODELS["silunet"].normalize
    network = SiluNet().to(memory_format=torch.channels_last)
    average = AveragedModel(network, avg_fn=partial(_average, recipe.memory), use_buffers=True)
    steps = len(pixels) // recipe.batch
    optimizer = _optimizer(network, recipe)
    schedule = OneCycleLR(
        optimizer, recipe.rate, recipe.epochs * steps, pct_start=recipe.rise, cycle_momentum=False
    )
    for epoch in range(recipe.epochs):
        total = 0.0
        seed = recipe.seed + epoch
        for batch, truth in batches(pixels, labels, recipe.batch, seed):
            inputs = normalize(batch).contiguous(memory_format=torch.channels_last)
            total += _step(network, optimizer, inputs, torch.from_numpy(truth), recipe.smoothing)
            schedule.step()
            average.update_parameters(network)
        yield total / steps, average.module.eval()


def save(network: nn.Module, path: Path) -> None:
    """Write the weights in one go: a reader sees the old file or the new one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    save_file({name: x.contiguous() for name, x in network.state_dict().items()}, part)
    part.replace(path)


def _step(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    inputs: Tensor,
    truth: Tensor,
    smoothing: float,
) -> float:
    loss = F.cross_entropy(network(inputs), truth, label_smoothing=smoothing)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return float(loss.detach())


def _average(memory: float, old: Tensor, new: Tensor, steps: Tensor | int) -> Tensor:
    """The moving average; its memory grows with the steps, so that the first weights fade."""
    memory = min(memory, (1 + int(steps)) / (10 + int(steps)))
    return memory * old + (1 - memory) * new


def _optimizer(network: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    kernels = [p for p in network.parameters() if p.ndim > 1]
    others = [p for p in network.parameters() if p.ndim == 1]
    groups = [{"params": kernels}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=recipe.rate, weight_decay=recipe.decay, fused=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, default=weights_path(), help="default: %(default)s")
    parser.add_argument("--epochs", type=int, default=Recipe.epochs)
    parser.add_argument("--batch", type=int, default=Recipe.batch)
    parser.add_argument("--rate", type=float, default=Recipe.rate)
    parser.add_argument("--decay", type=float, default=Recipe.decay)
    parser.add_argument("--seed", type=int, default=Recipe.seed)
    parser.add_argument("--every", type=int, default=5, help="epochs between savings")
    parser.add_argument("--threads", type=int, default=1)
    return parser


if __name__ == "__main__":
    main()
