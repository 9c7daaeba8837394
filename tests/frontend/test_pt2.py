"""Saved programs: what is loaded, and that nothing written in a file is ever run."""

import contextlib
import io
import json
import pickle
import time
import zipfile
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.export import Dim

from tersor.errors import InvalidModelError, TersorError, UnsupportedError
from tersor.frontend.capture import capture
from tersor.frontend.pt2 import load_program


class Odd(nn.Module):
    """Names that are no Python names, tied weights, an alias, a constant, a dictionary."""

    def __init__(self):
        super().__init__()
        self.add_module("слой/один two", nn.Linear(4, 4))
        self.add_module("metadata", nn.Linear(4, 4))
        self.get_submodule("metadata").weight = self.get_submodule("слой/один two").weight
        self.register_buffer("row", torch.arange(8.0).view(2, 4).T[:, 1])
        self.register_buffer("wide", torch.ones(1).expand(4))

    def forward(self, metadata, target=None):
        first = self.get_submodule("слой/один two")(metadata)
        second = self.get_submodule("metadata")(first + self.row) * torch.tensor([1.0, 2, 3, 4])
        with torch.no_grad():
            third = second * self.wide
        return {"a key/with «quotes'": third, "b": [first.reshape(-1, 2), target]}


def save(model, args, path, kwargs=None, **shapes):
    program = torch.export.export(model, args, kwargs, dynamic_shapes=shapes or None)
    torch.export.save(program, path)
    return path


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A small saved program; its parts are read as a dictionary of bytes."""
    path = tmp_path_factory.mktemp("saved") / "model.pt2"
    return save(nn.Linear(3, 2), (torch.randn(2, 3),), path, input={0: Dim.DYNAMIC})


def rewrite(saved, path, compression=zipfile.ZIP_STORED, **parts):
    """The archive with some parts replaced; double underscores stand for slashes and dots."""
    parts = {name.replace("__", "/"): content for name, content in parts.items()}
    with zipfile.ZipFile(saved) as old, zipfile.ZipFile(path, "w", compression) as new:
        for name in old.namelist():
            inside = name.partition("/")[2]
            new.writestr(name, parts.pop(inside, old.read(name)))
        for name, content in parts.items():
            new.writestr(f"model/{name}", content)
    return path


def edit_program(saved, path, change, part="models/model.json"):
    """The archive with a changed program, or another JSON part."""
    with zipfile.ZipFile(saved) as archive:
        program = json.loads(archive.read(f"model/{part}"))
    change(program)
    return rewrite(saved, path, **{part: json.dumps(program)})


class Payload:
    """A pickle that creates a file when it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.fixture
def victim(tmp_path):
    """A file that must never come into being."""
    path = tmp_path / "victim"
    yield path
    assert not path.exists()


@pytest.mark.filterwarnings("ignore:No complete tensor found")  # torch, when it saves a view
def test_a_program_with_odd_names_survives(tmp_path):
    model = Odd()
    free = {0: Dim.DYNAMIC}
    x, y = torch.randn(2, 4), torch.randn(2, 4)
    path = save(model, (x,), tmp_path / "a.pt2", {"target": y}, metadata=free, target=free)
    program = load_program(path)
    out, expected = program.module()(x, target=y), model(x, target=y)
    assert out.keys() == expected.keys()
    torch.testing.assert_close(out, expected)
    assert program.state_dict.keys() == model.state_dict().keys()
    args, kwargs = program.example_inputs
    assert torch.equal(args[0], x)
    assert torch.equal(kwargs["target"], y)
    weights = [program.state_dict[f"{name}.weight"] for name in ("слой/один two", "metadata")]
    assert weights[0].data_ptr() == weights[1].data_ptr()  # tied weights stay tied
    torch.testing.assert_close(capture(program)(x, target=y), expected)


def test_sizes_that_are_computed_survive(tmp_path):
    class Sizes(nn.Module):
        def forward(self, x):
            pooled = nn.functional.avg_pool2d(x, 3, 2, 1)
            halves = pooled[:, :, : pooled.shape[2] // 2] ** 2
            return torch.cat([halves.flatten(1), x.new_ones(x.shape[0], x.shape[2] * 2)], 1)

    free = {0: Dim.DYNAMIC, 2: Dim.DYNAMIC, 3: Dim.DYNAMIC}
    path = save(Sizes(), (torch.randn(2, 3, 9, 8),), tmp_path / "a.pt2", x=free)
    x = torch.randn(3, 3, 11, 10)
    torch.testing.assert_close(load_program(path).module()(x), Sizes()(x))


def pickled_example(victim):
    buffer = io.BytesIO()
    torch.save(((Payload(victim),), {}), buffer)
    return {"data/sample_inputs/model.pt": buffer.getvalue()}


def bare_pickle(victim):
    return {"data/sample_inputs/model.pt": pickle.dumps(((Payload(victim),), {}))}


def legacy_weights(victim):
    return {"data/weights/model.pt": pickle.dumps({"weight": Payload(victim)})}


def opaque_constant(victim):
    config = {"a": {"path_name": "opaque_obj_0", "use_pickle": True, "is_param": False}}
    config["a"]["tensor_meta"] = None
    return {
        "data/constants/opaque_obj_0": pickle.dumps(Payload(victim)),
        "data/constants/model_constants_config.json": json.dumps({"config": config}),
    }


def pickled_weight(victim):
    config = {"weight": {"path_name": "weight_0", "use_pickle": True, "is_param": True}}
    config["weight"]["tensor_meta"] = None
    return {
        "data/weights/weight_0": pickle.dumps(Payload(victim)),
        "data/weights/model_weights_config.json": json.dumps({"config": config}),
    }


def second_model(victim):
    buffer = io.BytesIO()
    torch.save(Payload(victim), buffer)
    return {"models/other.json": "{}", "data/sample_inputs/other.pt": buffer.getvalue()}


def library(_):
    return {"data/aotinductor/model/a.so": b"\x7fELF"}


def climbing(_):
    return {"../../victim": b"", "data/weights/../../victim": b""}


@pytest.mark.parametrize(
    "parts",
    [
        pickled_example,
        legacy_weights,
        opaque_constant,
        pickled_weight,
        second_model,
        library,
        climbing,
    ],
)
def test_what_would_be_unpickled_or_run_is_refused(saved, parts, victim):
    path = rewrite(saved, victim.with_name("a.pt2"), **parts(victim))
    with pytest.raises(UnsupportedError, match=r"a\.pt2.*pass the nn\.Module itself"):
        load_program(path)


def test_a_bare_pickle_is_refused(saved, victim):
    with pytest.raises(InvalidModelError, match="not a readable"):
        load_program(rewrite(saved, victim.with_name("a.pt2"), **bare_pickle(victim)))


@pytest.mark.filterwarnings("ignore")
def test_the_payload_is_live(saved, tmp_path, capfd):
    """PyTorch itself runs it, so the tests here would see it run."""
    victim = tmp_path / "victim"
    path = rewrite(saved, tmp_path / "a.pt2", **pickled_example(victim))
    with contextlib.suppress(Exception):
        torch.export.load(path)
    assert victim.exists()


def graph(program):
    return program["graph_module"]["graph"]


def node(program):
    return graph(program)["nodes"][0]


def spec(kind, context):
    return json.dumps([1, {"type": kind, "context": context, "children_spec": []}])


def rename_input(program, name):
    old, new = ({"as_tensor": {"name": name}} for name in ("input", name))
    text = json.dumps(program).replace(json.dumps(old), json.dumps(new))
    program.update(json.loads(text))
    graph(program)["tensor_values"][name] = graph(program)["tensor_values"].pop("input")


def rename_weight(program, name):
    for entry in program["graph_module"]["signature"]["input_specs"]:
        if "parameter" in entry:
            entry["parameter"]["parameter_name"] = name


def set_size(program, text):
    graph(program)["tensor_values"]["input"]["sizes"][0]["as_expr"]["expr_str"] = text


def set_outputs(program, kind, context):
    program["graph_module"]["module_call_graph"][0]["signature"]["out_spec"] = spec(kind, context)


TOUCH = "__import__('pathlib').Path('{}').touch()"
TEXTS = {
    "a size": lambda p, code: set_size(p, code),
    "a size in a call": lambda p, code: set_size(p, f"Integer({code})"),
    "a symbol": lambda p, code: set_size(p, f"Symbol('s0', positive={code})"),
    "an input": lambda p, code: rename_input(p, f"input={code}"),
    "a weight": lambda p, code: rename_weight(p, f'weight"), {code}, ("'),
    "a node": lambda p, code: node(p).update(name=f"a = {code}; b"),
    "an operator": lambda p, code: node(p).update(target="torch.os.system"),
    "a file": lambda p, code: node(p).update(target="torch.ops.aten.from_file.default"),
    "an extension": lambda p, code: node(p).update(target="#aoti:call"),
    "an import": lambda p, code: set_outputs(
        p, "collections.defaultdict", '{"default_factory_module": "antigravity"}'
    ),
    "an enum": lambda p, code: set_outputs(p, "builtins.dict", '{"__enum__": 1, "fqn": "a:b"}'),
    "a symbol's range": lambda p, code: p["range_constraints"].update({code: {}}),
    "endless symbols": lambda p, code: p["range_constraints"].update({"u9999999999999": {}}),
    "a huge number": lambda p, code: set_size(p, "Integer(1e999999999)"),
    "a tiny number": lambda p, code: set_size(p, "Integer(1e-999_999_999)"),
    "huge digits": lambda p, code: set_size(p, "Float('1e999999999', precision=53)"),
    "endless digits": lambda p, code: set_size(p, "Float('0.1', precision=99999999)"),
    "a tower": lambda p, code: set_size(p, "Pow(Integer(9), Pow(Integer(9), Integer(99)))"),
}


@pytest.mark.parametrize("change", TEXTS.values(), ids=TEXTS)
def test_text_that_would_run_is_refused(saved, victim, change):
    code = TOUCH.format(victim)
    path = edit_program(saved, victim.with_name("a.pt2"), lambda program: change(program, code))
    with pytest.raises(UnsupportedError, match="save it again"):
        capture(load_program(path), torch.zeros(2, 3))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("where", ["a size", "an input"])
def test_the_text_is_live(saved, tmp_path, where, capfd):
    """PyTorch itself runs it, so the test above would see it run."""
    victim = tmp_path / "victim"
    code = TOUCH.format(victim)
    path = edit_program(saved, tmp_path / "a.pt2", lambda program: TEXTS[where](program, code))
    with contextlib.suppress(Exception):
        torch.export.load(path).module(check_guards=False)(torch.zeros(2, 3))
    assert victim.exists()


def test_guards_are_left_out(saved, victim):
    code = TOUCH.format(victim)
    path = victim.with_name("a.pt2")
    edit_program(saved, path, lambda program: program.update(guards_code=[code]))
    program = load_program(path)
    assert program.module()(torch.zeros(2, 3)).shape == (2, 2)


def set_shape(sizes):
    def change(config):
        meta = config["config"]["weight"]["tensor_meta"]
        meta.update(sizes=[{"as_int": n} for n in sizes], strides=[{"as_int": 0} for _ in sizes])

    return change


@pytest.mark.parametrize("sizes", [[1 << 40], [1 << 20, 1 << 20], [-1, 3]])
def test_shapes_that_the_file_cannot_hold(saved, tmp_path, sizes):
    part = "data/weights/model_weights_config.json"
    path = edit_program(saved, tmp_path / "a.pt2", set_shape(sizes), part)
    with pytest.raises(InvalidModelError, match=r"'weight' says it has shape .* holds 24 bytes"):
        load_program(path)


def test_archives_that_hold_more_than_their_file(saved, tmp_path):
    path = rewrite(saved, tmp_path / "a.pt2", zipfile.ZIP_DEFLATED)
    with pytest.raises(InvalidModelError, match="is compressed"):
        load_program(path)
    content = bytearray(saved.read_bytes())
    with zipfile.ZipFile(saved) as archive:
        start = archive.start_dir  # the first entry of the directory; both of its sizes
    content[start + 20 : start + 28] = (1 << 30).to_bytes(4, "little") * 2
    path.write_bytes(content)
    with pytest.raises(InvalidModelError, match="bytes more than the file"):
        load_program(path)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_part_that_is_there_twice(saved, tmp_path):
    path = rewrite(saved, tmp_path / "a.pt2")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("other/models/model.json", "{}")
    with pytest.raises(InvalidModelError, match="twice"):
        load_program(path)


def test_every_missing_part_and_every_cut(saved, tmp_path):
    content = saved.read_bytes()
    path = tmp_path / "a.pt2"
    for end in range(0, len(content), 97):
        path.write_bytes(content[:end])
        with pytest.raises(InvalidModelError, match="not a readable"):
            load_program(path)


def test_deep_nesting(saved, tmp_path):
    path = rewrite(saved, tmp_path / "a.pt2", **{"models/model.json": "[" * 100_000})
    with pytest.raises(InvalidModelError, match="not a readable"):
        load_program(path)


def test_flipped_bits_never_change_a_weight(saved, tmp_path):
    """Each part has a checksum, so a damaged program is refused or is the same program."""
    content = saved.read_bytes()
    expected = load_program(saved).state_dict
    path, refused = tmp_path / "a.pt2", 0
    for position in range(0, len(content), 131):
        damaged = bytearray(content)
        damaged[position] ^= 1 << position % 8
        path.write_bytes(damaged)
        try:
            found = load_program(path).state_dict
        except TersorError:
            refused += 1
        else:
            assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert refused > 10


def repeated(program, count):
    graph(program)["nodes"] += [node(program)] * count


def repeated_inside(program, count):
    """A branch, written once, that many nodes hold."""
    inner = {"as_graph": {"name": "branch", "graph": {"nodes": [node(program)] * 200}}}
    one = {**node(program), "inputs": [{"name": "branch", "arg": inner}]}
    graph(program)["nodes"] += [one] * (count // 200)


def more_inputs(program, count):
    specs = program["graph_module"]["signature"]["input_specs"]
    specs += [next(spec for spec in specs if "user_input" in spec)] * count


@pytest.mark.parametrize(
    ("change", "what"),
    [(repeated, "nodes"), (repeated_inside, "nodes"), (more_inputs, "inputs")],
)
def test_endless_programs_are_refused_in_no_time(saved, tmp_path, change, what):
    path = edit_program(saved, tmp_path / "a.pt2", lambda program: change(program, 10_000))
    start = time.process_time()
    with pytest.raises(UnsupportedError, match=rf"has 1\d,\d+ {what}, and at most 1"):
        load_program(path)
    assert time.process_time() - start < 5


def test_a_program_that_fails_prints_nothing(saved, tmp_path, capfd):
    def other(program):
        node(program)["inputs"][0], node(program)["inputs"][1] = (
            node(program)["inputs"][1],
            node(program)["inputs"][0],
        )

    path = edit_program(saved, tmp_path / "a.pt2", other)
    with pytest.raises(TersorError):
        capture(load_program(path), torch.zeros(2, 7))
    assert capfd.readouterr().err == ""
