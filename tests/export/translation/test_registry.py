"""The table of translations is the one that PyTorch makes."""

from torch.onnx._internal.exporter._registration import ONNXRegistry

from tersor.export.onnx.translation.registry import registry


def functions(table):
    return {
        target: [(found.onnx_function, found.is_complex) for found in known]
        for target, known in table.functions.items()
    }


def test_the_translations_are_those_of_pytorch():
    wanted = functions(ONNXRegistry.from_torchlib(opset_version=21))
    assert len(wanted) > 100
    assert functions(registry(21, ())) == wanted
