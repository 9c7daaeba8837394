"""One process of a distributed training: `worker.py FOLDER [fsdp] [kept]`."""

import sys
import time
from pathlib import Path
from typing import Literal

import torch
from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import DistributedType
from safetensors.torch import save_file

import tersor
from tests.training.setting import batches, quantized, short, state


def main(folder: Path, sharded: bool, batchnorm: Literal["kept", "folded"]) -> None:
    """Train, and let the main process write the result."""
    torch.set_num_threads(1)
    process = PartialState(cpu=True)
    if sharded:
        # Accelerate leaves FSDP to GPUs; the code that it runs is the same on CPUs.
        process._shared_state["distributed_type"] = DistributedType.MULTI_GPU
    start = time.perf_counter()
    trained = tersor.train(
        quantized(),
        batches(),
        options=short(batchnorm=batchnorm, ema=0.9, clip=1.0, checkpoint_every=5),
        folder=folder,
    )
    if process.is_main_process:
        steps = 12 / (time.perf_counter() - start)
        how = AcceleratorState().distributed_type.value
        print(f"{steps:.1f} steps/s, {how}, processes: {process.num_processes}")  # noqa: T201
        save_file({n: x.contiguous() for n, x in state(trained).items()}, folder / "state")
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), "fsdp" in sys.argv, "kept" if "kept" in sys.argv else "folded")
