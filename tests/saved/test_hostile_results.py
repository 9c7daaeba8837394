"""Files that somebody made to do harm are refused in one line, and nothing in them runs."""

import base64
import copy
import zlib

import pytest
import safetensors.torch
import torch
from onnx import ModelProto, TensorProto

import tersor
from tersor.errors import InvalidInputError, InvalidModelError, TersorError, UnsupportedError
from tersor.graph.carried_model import decode, encode
from tersor.saved.result_file import from_bytes, seal, to_bytes
from tests.saved.results import net, parts_of, put_together, quantized, recurrent


@pytest.fixture(scope="module")
def content():
    return to_bytes(quantized()._parts)


@pytest.fixture(scope="module")
def carried(tmp_path_factory):
    return to_bytes(recurrent(tmp_path_factory.mktemp("carried"))[0]._parts)


def refuse(content, match):
    with pytest.raises(TersorError, match=match) as refusal:
        from_bytes(content, "q.tersor")
    assert "\n" not in str(refusal.value)
    assert str(refusal.value).startswith("'q.tersor' ")
    return type(refusal.value)


def changed(content, change):
    """The file after a change of the network's description; its checksum fits."""
    described, tensors = parts_of(content)
    change(described["networks"]["network"])
    return put_together(described, tensors)


def node(network, name):
    return next(node for node in network["graph"]["nodes"] if node["name"] == name)


def test_what_is_put_together_again_is_read(content):
    assert put_together(*parts_of(content)) == content
    from_bytes(content, "q.tersor")


def test_a_newer_file_says_what_to_do(content):
    _, tensors = parts_of(content)
    newer = safetensors.torch.save(tensors, seal(tensors, 2))
    assert refuse(newer, r"version 2 .* this Tersor reads version 1; .*upgrade") is UnsupportedError


@pytest.mark.parametrize(
    "broken",
    [b"", b"\x80\x04K\x01.", b"\xff" * 64, safetensors.torch.save({"a": torch.ones(2)})],
    ids=["empty", "pickle", "noise", "other tensors"],
)
def test_other_files_are_refused(broken):
    assert refuse(broken, "is damaged, or no file that `save` wrote") is InvalidModelError


def test_every_changed_byte_is_found(content):
    for place in range(0, len(content), len(content) // 40):
        broken = bytearray(content)
        broken[place] ^= 1
        assert refuse(bytes(broken), "damaged") is InvalidModelError


@pytest.mark.parametrize(
    "target",
    [
        *("os.system", "builtins.eval", "torch.load", "operator.attrgetter", "torch.ops.aten.add"),
        *("aten.from_file.default", "aten.relu", "aten.__class__.mro", "tersor.other.default"),
        *("quantized.add.default", "aten.relu.nothing", "aten.add.Tensor.__call__", ""),
    ],
)
def test_only_operators_on_tensors_are_called(target, content):
    refuse(changed(content, lambda n: node(n, "relu").update(target=target)), "calls")


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda n: node(n, "relu").update(args=[{"node": "flatten"}]), "not computed before it"),
        (lambda n: node(n, "relu").update(args=[{"node": "relu"}]), "not computed before it"),
        (lambda n: node(n, "relu").update(args=[{"pickle": "gASVAA=="}]), "an argument is"),
        (lambda n: node(n, "relu").update(args=[{"dtype": "Tensor"}]), "no type of numbers"),
        (lambda n: node(n, "relu").update(args=[{"device": "lazy"}]), "no device"),
        (lambda n: node(n, "relu").update(args=[10**30]), "too large"),
        (lambda n: node(n, "relu").update(kwargs={"x=print(1)": 1}), "has an argument"),
        (lambda n: node(n, "relu").update(name='a"); print(1)'), "cannot be called"),
        (lambda n: node(n, "relu").update(op="call_method"), r"op is 'call_method'"),
        (lambda n: node(n, "relu").update(name="conv2d"), "cannot be called 'conv2d'"),
        (lambda n: node(n, "relu").update(more=1), "unknown"),
        (lambda n: node(n, "_0_weight").update(target="__class__"), "missing"),
        (lambda n: node(n, "input_1").update(target="x=print(1)"), "an input is called"),
        (lambda n: node(n, "relu").update(value={"size": "__import__('os')"}), "could run as code"),
        (lambda n: n["graph"].update(arguments=["x=print(1)"]), "an input is called"),
        (lambda n: n["graph"]["nodes"].pop(), "no single output"),
        (lambda n: n["graph"]["symbols"].update({"x y": {"hint": 3}}), "sizes are named"),
        (lambda n: n["graph"]["symbols"].update(u99999999={}), "a size is called"),
        (lambda n: n["graph"]["inputs"].update(type="os.environ"), "import os first"),
        (lambda n: n["graph"]["inputs"].update(keys=3), "keys of a tuple"),
        (lambda n: n["module"].update(modules=["forward"]), "torch.export cannot hold"),
        (lambda n: n["module"].update(modules=['a"b']), "torch.export cannot hold"),
        (lambda n: n["module"]["tensors"][0].update(same_as="5.weight"), "said to be"),
        (lambda n: n["module"]["tensors"][0]["stored"].update(key="none"), "missing"),
        (lambda n: n["module"]["tensors"][0]["stored"].update(order=[0, 0, 1, 2]), "the axes of"),
        (lambda n: n["module"]["quantizers"][0]["grid"].update(bits=99), "bits=99"),
        (lambda n: n["module"]["biases"][0].update(edges=[999]), "number 999"),
        (lambda n: n.update(from_file=True), "is missing"),
        (lambda n: n["records"][0].update(layer=3), "layer is 3"),
        (lambda n: n["axes"][0].update(x="batch"), "is 'x'"),
    ],
)
def test_what_does_not_fit_is_named(change, match, content):
    refuse(changed(content, change), match)


def with_values(content, key, value):
    described, tensors = parts_of(content)
    return put_together(described, {**tensors, key: value(tensors[key])})


def test_values_that_are_no_weights_are_refused(content):
    refuse(with_values(content, "network/0.weight", lambda x: x.fill_(float("nan"))), "holds NaN")
    scale = "network/quantizer 1.scale"
    for wrong in (0.0, -1.0, float("inf"), float("nan")):
        refuse(with_values(content, scale, lambda x, wrong=wrong: x.fill_(wrong)), "no scale")


def test_json_that_is_too_deep_or_not_strict_is_refused(content):
    _, tensors = parts_of(content)
    for text in (b"[" * 100_000, b'{"kind": NaN}', b"\xff", b"7", b'{"kind": "other"}'):
        whole = {**tensors, "description": torch.frombuffer(bytearray(text), dtype=torch.uint8)}
        refuse(safetensors.torch.save(whole, seal(whole)), "damaged")


def test_a_size_that_takes_forever_is_refused(content):
    power = "Pow(Integer(10), Pow(Integer(10), Integer(10)))"
    refuse(changed(content, lambda n: node(n, "relu").update(value={"size": power})), "size")


def carried_call(network):
    return next(n for n in network["graph"]["nodes"] if n["target"].startswith("tersor."))


def test_a_carried_part_reads_no_other_file(carried):
    def elsewhere(network):
        part = ModelProto()
        part.CopyFrom(decode(carried_call(network)["args"][1]))
        tensor = part.graph.initializer.add(name="w", data_type=TensorProto.FLOAT, dims=[1])
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value="/etc/hostname")
        carried_call(network)["args"][1] = encode(part)

    refuse(changed(carried, elsewhere), "in another file")


def test_a_carried_part_that_unpacks_to_far_more_is_refused(carried):
    bomb = "0:" + base64.b64encode(zlib.compress(bytes(1 << 26))).decode()
    refuse(changed(carried, lambda n: carried_call(n).update(args=[[], bomb])), "larger")


def test_a_file_that_came_in_has_all_its_weights_inside(carried):
    described, tensors = parts_of(carried)
    file = ModelProto.FromString(tensors["origin"].numpy().tobytes())
    tensor = file.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/hostname")
    raw = torch.frombuffer(bytearray(file.SerializeToString()), dtype=torch.uint8)
    refuse(put_together(described, {**tensors, "origin": raw}), "in another file")


def test_files_that_are_missing_or_have_another_ending_are_told(tmp_path):
    with pytest.raises(InvalidInputError, match=r"cannot read .*none\.tersor"):
        tersor.load(tmp_path / "none.tersor")
    with pytest.raises(InvalidInputError, match=r"call it q\.tersor"):
        quantized().save(tmp_path / "q.pt")
    (tmp_path / "q.tersor").write_bytes(b"no")
    with pytest.raises(InvalidModelError, match="is damaged"):
        tersor.load(tmp_path / "q.tersor")


def test_a_network_with_ops_of_its_own_cannot_be_saved(tmp_path):
    with torch.library._scoped_library("mine", "FRAGMENT") as library:
        library.define("twice(Tensor x) -> Tensor")
        library.impl("twice", lambda x: x * 2, "CompositeExplicitAutograd")
        library.impl("twice", torch.empty_like, "Meta")

        class Twice(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.inner = net()

            def forward(self, x):
                return torch.ops.mine.twice(self.inner(x))

        result = tersor.quantize(Twice(), torch.randn(2, 3, 12, 12), input_range=(-1, 1))
        with pytest.raises(UnsupportedError, match=r"mine\.twice\.default"):
            result.save(tmp_path / "q.tersor")
    assert not list(tmp_path.iterdir())
    assert copy.deepcopy(result).records == result.records
