"""A copy of a model whose large tensors take no memory until one of the two models changes them.

PyTorch keeps one storage for both, and copies it when either of the tensors is written to. What is
written past PyTorch, through an array that `tensor.numpy()` returned before the copy was made, is
not noticed: it changes both models.
"""

import copy
from collections import Counter

from torch import Tensor, nn

from tersor.errors import CaptureError
from tersor.frontend.explain import first_line

_LARGE = 1 << 16  # bytes of a tensor, from which sharing is worth it
_PLAIN = (Tensor, nn.Parameter)


def copied(model: nn.Module) -> nn.Module:
    """Copy a model; neither of the two notices what happens to the other one.

    Args:
        model: The model.

    Raises:
        CaptureError: It cannot be copied.
    """
    try:
        return copy.deepcopy(model, _later(model))
    except Exception as error:
        raise CaptureError(
            f"the model cannot be copied, and the original must not change: {first_line(error)}. "
            "Weights computed by torch.nn.utils.weight_norm are one cause; call "
            "torch.nn.utils.remove_weight_norm first"
        ) from error


def _later(model: nn.Module) -> dict[int, Tensor]:
    """Copies of large tensors that are made when they are written to, for `copy.deepcopy`."""
    tensors = [x for x in (*model.parameters(), *model.buffers()) if type(x) in _PLAIN]
    owners = Counter(x.untyped_storage()._cdata for x in tensors)
    alone = (x for x in tensors if owners[x.untyped_storage()._cdata] == 1 and _is_large(x))
    return {id(x): found for x in alone if (found := _copied_later(x)) is not None}


def _is_large(x: Tensor) -> bool:
    """Whether a tensor is large, and all that its storage holds."""
    return x.nbytes >= _LARGE and x.is_contiguous() and x.untyped_storage().nbytes() == x.nbytes


def _copied_later(x: Tensor) -> Tensor | None:
    """A copy, or None where the memory is not PyTorch's own, such as that of a file or an array."""
    if x.is_inference() or (x.requires_grad and not x.is_leaf):
        return None
    try:
        found = x.detach()._lazy_clone()
    except RuntimeError:
        return None
    return nn.Parameter(found, x.requires_grad) if isinstance(x, nn.Parameter) else found
