"""Tensors that FSDP has divided among processes: gathered for a file, and divided again."""

from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor


def whole(tensor: Tensor) -> Tensor:
    """All of a tensor; every process has to ask for it.

    Args:
        tensor: Perhaps divided.
    """
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def like(tensor: Tensor, other: Tensor) -> Tensor:
    """A whole tensor, on the device of another, divided as that is.

    Args:
        tensor: The same in every process.
        other: Perhaps divided.
    """
    if isinstance(other, DTensor):
        return distribute_tensor(
            tensor.to(other.device), other.device_mesh, other.placements, src_data_rank=None
        )
    return tensor.to(other.device)
