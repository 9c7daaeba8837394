"""Every ONNX op that can be read, and how it is computed."""

from tersor.frontend.onnx import (
    activations,
    creation,
    elementwise,
    indexing,
    layer_ops,
    movement,
    norm_ops,
    pooling,
    reductions,
    resize,
)
from tersor.frontend.onnx.node import Op

OPS: dict[str, Op] = {
    **layer_ops.OPS,
    **elementwise.OPS,
    **activations.OPS,
    **pooling.OPS,
    **norm_ops.OPS,
    **movement.OPS,
    **resize.OPS,
    **indexing.OPS,
    **reductions.OPS,
    **creation.OPS,
}
