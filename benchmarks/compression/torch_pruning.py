"""Torch-Pruning on the same network, and the same training afterwards.

    pip install torch-pruning
    python -m benchmarks.compression.torch_pruning --models resnet56 --macs 0.5 --epochs 3

Its pruner takes channels of all layers by group importance (L2 norms, or Taylor with labels), a
little at a time, until the MACs are reached. Streams with shortcuts that pad with zeros stay whole:
their padding is fixed in the code of the network. What is left is captured and trained by Tersor,
with the options of `benchmarks.compression.budget`.
"""

import argparse
from importlib.metadata import version
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.harness import Table, progress
from benchmarks.training.task import TrainingTask
from benchmarks.zoo import MODELS
from benchmarks.zoo.resnet import BasicBlock
from tersor.api.train import train
from tersor.frontend.capture import capture
from tersor.results.compressed import Compressed
from tersor.training.options import Training

_STEPS = 50  # prune a little, and look
_LABELLED = 256  # images for Taylor


def main() -> None:
    """Print the table."""
    args = _parser().parse_args()
    torch.set_num_threads(args.threads)
    progress("torch-pruning", version("torch-pruning"))
    titles = ("network", "importance", "MACs asked", "MACs", "parameters", "top-1", "trained")
    table = Table(args, *titles)
    for name in args.models:
        task = TrainingTask.of(name, args.limit)
        for importance in args.importance:
            for share in args.macs:
                progress(name, importance, share)
                model = pruned(task, importance, share)
                network = capture(model.eval(), task.task.model.example())
                found = Compressed(network, task.task.network)
                top1 = [task.task.top1(network)]
                if args.epochs:
                    options = Training(epochs=args.epochs, rate=args.rate, seed=args.seed)
                    found = train(found, task.batches(args.batch), options=options)
                    top1.append(task.task.top1(found.network))
                after, before = found.cost, found.original_cost
                shares = after.macs / before.macs, after.parameters / before.parameters
                cells = [f"{x:.3f}" for x in shares] + [f"{x:.2f}" for x in top1]
                cells += ["–"] * (len(titles) - 3 - len(cells))
                table.add(name, importance, str(share), *cells, top1=top1, shares=shares)


def pruned(task: TrainingTask, importance: str, share: float) -> nn.Module:
    """The network, pruned by Torch-Pruning to a share of its MACs.

    Args:
        task: The network, with labelled images.
        importance: `"magnitude"` or `"taylor"`.
        share: Of the MACs that may be left.
    """
    import torch_pruning as tp

    model, example = task.task.model.load().eval(), task.task.model.example()
    kinds = {
        "magnitude": tp.importance.GroupMagnitudeImportance,
        "taylor": tp.importance.GroupTaylorImportance,
    }
    blocks = [module for module in model.modules() if isinstance(module, BasicBlock)]
    inner = {block.conv1 for block in blocks}
    layers = [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    stay: list[nn.Module] = [layer for layer in layers if layer not in inner]
    pruner = tp.pruner.BasePruner(
        model,
        example,
        importance=kinds[importance](),
        global_pruning=True,
        pruning_ratio=1.0,
        iterative_steps=_STEPS,
        ignored_layers=stay,
    )
    whole = tp.utils.count_ops_and_params(model, example)[0]
    for _ in range(_STEPS):
        if tp.utils.count_ops_and_params(model, example)[0] <= share * whole:
            break
        if importance == "taylor":
            model.zero_grad()
            F.cross_entropy(model(task.inputs[:_LABELLED]), task.labels[:_LABELLED]).backward()
        pruner.step()
    return model


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    networks = [name for name in MODELS if name.startswith("resnet")]
    parser.add_argument("--models", nargs="+", choices=networks, default=["resnet56"])
    parser.add_argument("--importance", nargs="+", default=["magnitude", "taylor"])
    parser.add_argument("--macs", nargs="+", type=float, default=[0.5])
    parser.add_argument("--epochs", type=int, default=0, help="of training; 0: none")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rate", type=float)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=int, help="test images")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path)
    return parser


if __name__ == "__main__":
    main()
