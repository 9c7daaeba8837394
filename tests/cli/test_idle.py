"""Options of the command line that would do nothing are errors, before any work."""

import pytest
from typer.testing import CliRunner

from tersor import cli
from tersor.cli.idle import check_batch
from tersor.errors import InvalidInputError

COMPRESS = "compress a.onnx -o b.onnx --macs 0.5"
CASES = {
    f"{COMPRESS} --epochs 3": ("--epochs 3", "--train"),
    f"{COMPRESS} --steps 5 --data c.npy": ("--steps 5", "--train"),
    f"{COMPRESS} --rate 0.1": ("--rate 0.1", "--train"),
    f"{COMPRESS} --batch 8": ("--batch 8", "--train"),
    f"{COMPRESS} --loss torch.nn.functional:cross_entropy": ("--loss torch", "--train"),
    f"{COMPRESS} --activations 8": ("--activations 8", "--weights"),
    f"{COMPRESS} --scheme tensorrt": ("--scheme tensorrt", "--weights"),
    f"{COMPRESS} --samples 10": ("--samples 10", "--data"),
    f"{COMPRESS} --test c.npy --no-verify": ("--test c.npy", "--no-verify"),
    "quantize a.onnx -o b.onnx --test c.npy --no-verify": ("--test c.npy", "--no-verify"),
    "train a.onnx -o b.onnx --data d.npy --test c.npy --no-verify": ("--test c.npy", "--no-verify"),
    "quantize a.onnx -o b.onnx --min-sqnr 20 --no-verify": ("--min-sqnr", "--no-verify"),
    f"{COMPRESS} --metric os:stat --no-verify": ("--metric", "--no-verify"),
    "train a.onnx -o b.onnx --data d.npy --max-metric 1": ("--max-metric", "--metric"),
    "quantize a.onnx -o b.onnx --keep-anyway": ("--keep-anyway", "--min-sqnr"),
    "verify a.onnx b.onnx --max-metric 1": ("--max-metric", "--metric"),
}


@pytest.mark.parametrize("command", CASES)
def test_it_is_refused_by_name(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(cli.app, command.split())
    assert result.exit_code == 1
    what, then = CASES[command]
    assert what in result.stderr
    assert then in result.stderr
    assert not list(tmp_path.iterdir())


def test_a_size_where_the_code_makes_its_own_batches():
    said = "--batch 8 has no effect: mycode:batches makes its own"
    with pytest.raises(InvalidInputError, match=said):
        check_batch(8, "mycode:batches", makes_batches=True)
    check_batch(8, "images/", makes_batches=False)
    check_batch(None, "mycode:batches", makes_batches=True)
