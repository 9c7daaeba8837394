"""Where rows are rounded, and that results with them can be kept."""

import pytest
import torch
from torch import nn

import tersor
from tersor.core.grid import Grid
from tersor.core.rows import fake_quantize_rows
from tersor.errors import InvalidInputError, UnsupportedError
from tersor.export.executorch import loaded
from tersor.quant.placement.row_ranges import RowQuantize

SCHEME = "executorch-dynamic"


class Heads(nn.Module):
    """A value that two layers and an addition read."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, x):
        return x + self.first(x) * self.second(x)


def heads(**options):
    torch.manual_seed(0)
    return tersor.quantize(Heads().eval(), torch.randn(4, 8), scheme=SCHEME, **options)


def test_layers_alone_read_rounded_rows_and_share_them():
    q, x = heads(), torch.randn(4, 8)
    modules = [m for m in q.network.module.modules() if isinstance(m, RowQuantize)]
    assert len(modules) == 1
    rounded = fake_quantize_rows(x, Grid(8, signed=True))
    read = [node for node in q.network.nodes() if node.target is torch.ops.aten.add.Tensor]
    assert [node.op for node in read[0].all_input_nodes] == ["placeholder", "call_function"]
    with torch.no_grad():
        assert torch.equal(modules[0](x), rounded)


def test_a_result_with_them_is_kept(tmp_path):
    q, x = heads(weights=4), torch.randn(4, 8)
    again = tersor.load(q.save(tmp_path / "q.tersor"))
    with torch.no_grad():
        assert torch.equal(again(x), q(x))


def test_training_passes_them():
    x = torch.randn(16, 8)
    trained = tersor.train(heads(), [x, x], options=tersor.Training(epochs=1))
    with torch.no_grad():
        assert bool(trained(x).isfinite().all())
        assert not torch.equal(trained(x), heads()(x))


@pytest.mark.parametrize("bits", [4, {"first": 4}, 16])
def test_rows_have_eight_bits(bits):
    with pytest.raises(InvalidInputError, match=r"executorch-dynamic rounds each row .* 8 bits"):
        heads(activations=bits)


def test_onnx_has_no_op_for_them(tmp_path):
    with pytest.raises(UnsupportedError, match=r"the rows of 'x' .* write a .pte file"):
        heads().export(tmp_path / "rows.onnx")


def test_a_network_without_linear_layers_has_nothing_to_round():
    with pytest.raises(UnsupportedError, match=r"no integer kernel for aten\.conv2d"):
        tersor.quantize(nn.Conv2d(3, 8, 3), torch.randn(1, 3, 8, 8), scheme=SCHEME)


def test_without_executorch_a_tolerance_says_what_is_missing(monkeypatch):
    monkeypatch.setattr(loaded, "is_installed", lambda: False)
    with pytest.raises(InvalidInputError, match=r"ExecuTorch is missing: pip install"):
        heads(data=torch.randn(16, 8), tolerance=30.0)
