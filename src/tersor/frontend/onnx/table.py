"""Every ONNX op that can be read, and how it is computed."""

from tersor.frontend.onnx import (
    activations,
    creation,
    elementwise,
    indexing,
    layers,
    movement,
    norms,
    pooling,
    reductions,
    resize,
)
from tersor.frontend.onnx.node import Op

OPS: dict[str, Op] = {
    **layers.OPS,
    **elementwise.OPS,
    **activations.OPS,
    **pooling.OPS,
    **norms.OPS,
    **movement.OPS,
    **resize.OPS,
    **indexing.OPS,
    **reductions.OPS,
    **creation.OPS,
}
