"""One process of a distributed training: `worker.py FOLDER`."""

import os
import sys
import time
from pathlib import Path
from typing import Literal

import torch
from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import DistributedType
from safetensors.torch import save_file

import tersor
from tersor import Quantized
from tests.training.setting import batches, quantized, short, state

SHARDING = {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2"}


def train(folder: Path, batchnorm: Literal["kept", "folded"] = "folded") -> Quantized:
    """Train the small network.

    Args:
        folder: Of the checkpoint.
        batchnorm: As for `Training`.
    """
    options = short(batchnorm=batchnorm, ema=0.9, clip=1.0, checkpoint_every=5)
    return tersor.train(quantized(), batches(), options=options, folder=folder)


def main(folder: Path) -> None:
    """Train, and let the main process write the result, twice: with copies, and in shares.

    Starting the processes takes longer than both. In shares a kept BatchNorm is trained, too.
    """
    torch.set_num_threads(1)
    process = PartialState(cpu=True)
    _report(process, folder / "copies")
    AcceleratorState._reset_state()
    os.environ |= SHARDING
    # Accelerate leaves FSDP to GPUs; the code that it runs is the same on CPUs.
    process._shared_state["distributed_type"] = DistributedType.MULTI_GPU
    _report(process, folder / "shares")
    train(folder / "shares" / "kept", "kept")
    if process.is_main_process:
        print("done")  # noqa: T201
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def _report(process: PartialState, folder: Path) -> None:
    start = time.perf_counter()
    trained = train(folder)
    seconds = time.perf_counter() - start
    how = AcceleratorState().distributed_type.value
    if process.is_main_process:
        print(f"{12 / seconds:.1f} steps/s, {how}, processes: {process.num_processes}")  # noqa: T201
        save_file({n: x.contiguous() for n, x in state(trained).items()}, folder / "state")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
