"""Tensors that FSDP has divided among processes: gathered for a file, and divided again."""

from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor


def whole(tensor: Tensor) -> Tensor:
    """Gather a whole tensor; every process must call this.

    Args:
        tensor: A tensor, perhaps divided.
    """
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def like(tensor: Tensor, other: Tensor) -> Tensor:
    """Move a whole tensor to the device of another, and divide it in the same way.

    Args:
        tensor: A tensor that is the same in every process.
        other: A tensor, perhaps divided.
    """
    if isinstance(other, DTensor):
        return distribute_tensor(
            tensor.to(other.device), other.device_mesh, other.placements, src_data_rank=None
        )
    return tensor.to(other.device)
