"""In-place ops, shared memory, views and `with` blocks: the captured graph has none of them."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tersor.frontend.capture import capture
from tests.captured import assert_same_function


class Flow(nn.Module):
    """A model with some modules, whose forward is a function of them."""

    def __init__(self, function):
        super().__init__()
        self.function = function
        self.fc = nn.Linear(4, 4)
        self.bn = nn.BatchNorm1d(4)
        self.register_buffer("calls", torch.zeros((), dtype=torch.long))
        self.register_buffer("ones", torch.ones(4), persistent=False)

    def forward(self, x):
        return self.function(self, x)


def chained(m, x):
    y = m.fc(x)
    before = y + 1
    y *= 2
    y += before
    clamped = y.clamp_(0, 1)
    y.sub_(3)
    return clamped, y, before


def view_of_a_written_value(m, x):
    y = m.fc(x)
    a = y.relu_()
    b = y.view(-1, 2, 2)
    a.add_(1)
    return a, b * 2


def slice_assignment(m, x):
    y = m.bn(m.fc(x))
    y[:, :2] = F.relu(y[:, :2])
    y[:, 2:] += 1
    y[:, 0] = 0
    return m.fc(y)


def written_through_a_slice(m, x):
    y = m.fc(x)
    half = y[:, :2]
    half.mul_(3)
    return y, half


def index_and_mask(m, x):
    y = m.fc(x)
    y[:, torch.tensor([0, 2])] = 5.0
    return y.masked_fill_(y < 0, 0.5)


def out_argument(m, x):
    y = torch.empty_like(x)
    torch.add(x, x, out=y)
    return m.fc(y)


def no_grad(m, x):
    with torch.no_grad():
        y = m.fc(x)
        with torch.autocast("cpu", enabled=False):
            y = y + torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=x.dtype)
        z = y * 2
    return F.relu(y * m.ones + z, inplace=True)


def counter(m, x):
    m.calls += 1
    return m.fc(x)


def no_contiguous_input(m, x):
    return m.fc(x).t().contiguous().view(2, -1).t().reshape(-1, 4)


FLOWS = [
    chained,
    view_of_a_written_value,
    slice_assignment,
    written_through_a_slice,
    index_and_mask,
    out_argument,
    no_grad,
    counter,
    no_contiguous_input,
]


@pytest.mark.parametrize("function", FLOWS, ids=lambda function: function.__name__)
def test_graph_is_functional_and_equal(function):
    model = Flow(function).double().eval()
    network = capture(model, torch.randn(2, 4, dtype=torch.float64))
    inputs = [((torch.randn(n, 4, dtype=torch.float64),), {}) for n in (1, 2, 5)]
    assert_same_function(network, model, inputs, tolerance=1e-12)
    for node in network.nodes():
        assert node.op in ("placeholder", "get_attr", "call_function", "output")
        assert not (node.op == "call_function" and node.target in vars(torch.ops.higher_order))
        assert not getattr(getattr(node.target, "_schema", None), "is_mutable", False)
    assert network.module.state_dict().keys() == model.state_dict().keys()
    network.module.load_state_dict(model.state_dict())


def test_slice_assignment_keeps_the_norm_as_one_op():
    network = capture(Flow(slice_assignment), torch.randn(2, 4))
    assert [str(n.target) for n in network.nodes()].count("aten.batch_norm.default") == 1


def test_finish_drops_what_is_not_read_and_keeps_what_is():
    model = nn.ModuleDict({"used": nn.Linear(4, 4), "dead": nn.Sequential(nn.Linear(4, 4))})
    model.forward = model["used"].forward
    network = capture(model, torch.randn(2, 4))
    assert set(network.module.state_dict()) == set(model.state_dict())
    network.finish()
    assert set(network.module.state_dict()) == {"used.weight", "used.bias"}
    assert [name for name, _ in network.module.named_modules()] == ["", "used"]
