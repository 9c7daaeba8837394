"""The node tests of the ONNX project, run through the reader.

Every test is a file of one node with inputs and the outputs that they must give, within the test's
own tolerance. A test whose shapes or axes are inputs of the file has them stored instead, because
a graph cannot be captured with shapes that depend on values; the table counts these. A test that
onnxruntime fails, too, with the same numbers as the reader, is counted apart: the reader computes
what the file computes where it runs.
"""

import argparse
import tempfile
import warnings
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import torch
from onnx import numpy_helper
from onnx.backend.test.case import node as node_tests

from benchmarks.harness.table import Table
from tersor.errors import UnsupportedError
from tersor.frontend.onnx.model import OnnxModel
from tersor.frontend.onnx.node import Op
from tersor.frontend.onnx.read import read
from tersor.frontend.onnx.supported import OPSETS
from tersor.frontend.onnx.table import OPS


@dataclass
class Tally:
    """What became of the tests of one op.

    Attributes:
        passed: Number of tests that gave the wanted outputs.
        stored: How many of these had inputs stored.
        failed: Test → what went wrong.
        disputed: Test → what the test wants and onnxruntime does not compute either.
        refused: Test → why it was refused, in the reader's words or in ours.
    """

    passed: int = 0
    stored: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    disputed: dict[str, str] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ops", nargs="+", metavar="OP", help="only these ops")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write the raw figures here")
    args = parser.parse_args()
    tallies: dict[str, Tally] = defaultdict(Tally)
    with tempfile.TemporaryDirectory() as folder:
        for case in cases():
            op = claimed_op(case.model)
            if op is not None and (not args.ops or op in args.ops):
                run(case, tallies[op], Path(folder) / "model.onnx")
    table = Table(args, "op", "passed / applicable", "shapes stored", "not applicable")
    for op, tally in sorted(tallies.items()):
        applicable = tally.passed + len(tally.failed)
        counts = Counter(tally.refused.values())
        reasons = "; ".join(f"{count} × {why}" for why, count in counts.items())
        reasons += "".join(f" FAILED {name}: {why}" for name, why in tally.failed.items())
        reasons += "".join(f" as onnxruntime, not as {name}" for name in tally.disputed)
        numbers = f"{tally.passed} / {applicable}"
        table.add(op, numbers, str(tally.stored), reasons, op=op, **tally.__dict__)
    passed = sum(t.passed for t in tallies.values())
    failed = sum(len(t.failed) for t in tallies.values())
    disputed = sum(len(t.disputed) for t in tallies.values())
    refused = sum(len(t.refused) for t in tallies.values())
    print(
        f"\n{passed} of {passed + failed} pass, {disputed} more give what onnxruntime gives, not "
        f"what they want, {refused} are not applicable, {len(tallies)} ops."
    )


def cases(module: str | None = None) -> list[Any]:
    """The node tests of the installed onnx package, or of one of its modules: `"conv"`.

    Importing a module makes its tests, and computes what they want with onnx's own reference.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if module is None:
            return list(node_tests.collect_testcases(None))
        import_module(f"{node_tests.__name__}.{module}")
        return list(node_tests._NodeTestCases)


def claimed_op(model: onnx.ModelProto) -> str | None:
    """The op that a test is about, if the reader has it and the test is for it alone."""
    ops = {node.op_type for node in model.graph.node if node.op_type != "Constant"}
    domains = {node.domain for node in model.graph.node}
    return next(iter(ops)) if len(ops) == 1 and ops <= OPS.keys() and domains == {""} else None


def run(case: Any, tally: Tally, path: Path) -> None:
    """Run all data of one test and count it."""
    reason = not_applicable(case.model)
    try:
        results = [] if reason else [_run(case, *data, path) for data in case.data_sets]
    except UnsupportedError as error:
        reason = str(error).partition("; change the model")[0].partition(") ")[2]
    except Exception as error:  # noqa: BLE001
        is_disputed = all(_is_as_in_onnxruntime(path, *data) for data in case.data_sets)
        tests = tally.disputed if is_disputed else tally.failed
        tests[case.name] = " ".join(str(error).split())[:200]
        return
    if reason:
        tally.refused[case.name] = reason
        return
    tally.passed += 1
    tally.stored += any(results)


def not_applicable(model: onnx.ModelProto) -> str | None:
    """Why a test is not for a reader of float networks, or None."""
    opset = next(x.version for x in model.opset_import if x.domain == "")
    if opset not in OPSETS:
        return f"opset {opset}"
    values = (*model.graph.input, *model.graph.output)
    if not all(value.type.HasField("tensor_type") for value in values):
        return "sequences and optional values"
    names = {onnx.TensorProto.DataType.Name(value.type.tensor_type.elem_type) for value in values}
    odd = sorted(n for n in names if n not in _DTYPES)
    return f"type {odd[0]}" if odd else None


_DTYPES = {
    *("FLOAT", "DOUBLE", "BOOL", "FLOAT16"),
    *(f"{sign}INT{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64)),
}


def _run(case: Any, inputs: Any, outputs: Any, path: Path) -> bool:
    """Run one set of data; returns whether inputs had to be stored."""
    model = onnx.ModelProto()
    model.CopyFrom(case.model)
    names = [value.name for value in model.graph.input]
    arrays = dict(zip(names, map(_array, inputs), strict=True))
    stored = [name for name in names if name in _shapes(model)]
    for name in stored:
        model.graph.initializer.append(numpy_helper.from_array(arrays[name], name))
    path.write_bytes(model.SerializeToString())
    module = OnnxModel(read(path))
    found = _outputs(module, arrays)
    for actual, wanted in zip(found, map(_array, outputs), strict=True):
        assert actual.dtype == wanted.dtype, f"{actual.dtype} is not {wanted.dtype}"
        np.testing.assert_allclose(actual, wanted, rtol=case.rtol, atol=case.atol)
    return bool(stored)


def _outputs(module: OnnxModel, arrays: dict[str, np.ndarray]) -> list[np.ndarray]:
    tensors = [torch.from_numpy(np.array(arrays[x.name])) for x in module.inputs]
    with torch.no_grad():
        found = module(*tensors)
    return [y.detach().numpy() for y in (found if isinstance(found, tuple) else (found,))]


def _is_as_in_onnxruntime(path: Path, inputs: Any, _: Any) -> bool:
    """Whether the file computes the same in the reader and in onnxruntime."""
    try:
        session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
        names = [value.name for value in onnx.load(path).graph.input]
        arrays = dict(zip(names, map(_array, inputs), strict=True))
        taken = {value.name: arrays[value.name] for value in session.get_inputs()}
        wanted = session.run(None, taken)
        found = _outputs(OnnxModel(read(path)), arrays)
    except Exception:  # noqa: BLE001
        return False
    return all(np.allclose(a, b, 1e-3, 1e-5) for a, b in zip(found, wanted, strict=True))


def _array(value: Any) -> np.ndarray:
    return numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else np.array(value)


def _shapes(model: onnx.ModelProto) -> set[str]:
    """Names of the inputs that the reader wants to be stored."""
    found: set[str] = set()
    for node in model.graph.node:
        op: Op | None = OPS.get(node.op_type)
        if op is not None:
            found |= {name for i, name in enumerate(node.input) if i in op.known and name}
    return found


if __name__ == "__main__":
    main()
