"""What torch computes again at every export, computed once per session.

With networks as small as those of the tests, this is most of the time of a capture and an export.
What they do stays the same.
"""

import __future__

import inspect
import textwrap
from functools import cache

import torch
from torch._export import utils
from torch.export import decomp_utils, exported_program
from torch.onnx._internal.exporter import _registration
from torch.onnx._internal.exporter._registration import ONNXRegistry


def compute_once(patch):
    """Patch torch; `patch` is a `pytest.MonkeyPatch`."""
    apis = _registration.onnxscript_apis
    patch.setattr(apis, "get_torchlib_ops", cache(apis.get_torchlib_ops))
    patch.setattr(ONNXRegistry, "from_torchlib", _copies(ONNXRegistry.from_torchlib))
    composite = cache(utils._collect_all_valid_cia_ops)
    for module in (utils, decomp_utils, exported_program):
        patch.setattr(module, "_collect_all_valid_cia_ops", composite)
    operator = torch._ops.OperatorBase
    patch.setattr(operator, "py_impl", _without_annotations(operator.py_impl))


def _copies(from_torchlib):
    """500 translations with the signatures of their functions, for each opset."""
    built = cache(from_torchlib)

    def copy(*args, **kwargs):
        registry, known = ONNXRegistry(), built(*args, **kwargs)
        registry._opset_version = known.opset_version
        registry.functions = {target: list(found) for target, found in known.functions.items()}
        return registry

    return staticmethod(copy)


def _without_annotations(function):
    """The same function; those defined in it do not evaluate their annotations at every call."""
    source, namespace = textwrap.dedent(inspect.getsource(function)), {}
    flags = __future__.annotations.compiler_flag
    code = compile(source, inspect.getsourcefile(function), "exec", flags=flags)
    exec(code, function.__globals__, namespace)  # noqa: S102
    return namespace[function.__name__]
