"""A run that was stopped goes on, to the same bits; folders of other runs are refused."""

import multiprocessing
import os
import signal
import time

import pytest
import torch

import tersor
from tersor.data.journal import Journal
from tersor.errors import ExportError, InvalidInputError
from tersor.graph.network import Applied, Skipped
from tersor.quant.adaround import AdaRound
from tersor.quant.block_rounding import Blocks
from tersor.quant.fast_rounding import Rounding
from tests.nets import images, plain

SOLVERS = {
    "fast": Rounding(),
    "adaround": AdaRound(iterations=20),
    "block": Blocks(iterations=20),
}


def quantized(folder=None, solver="fast", on_layer=None, **options):
    return tersor.quantize(
        plain(),
        images(),
        data=images(64),
        weights=3,
        options=tersor.WithData(rounding=SOLVERS[solver], **options),
        folder=folder,
        on_layer=on_layer,
    )


def assert_equal(first, second):
    states = [x.network.module.state_dict() for x in (first, second)]
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert first.records == second.records


class Stop(Exception):  # noqa: N818
    pass


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_stopped_run_goes_on_to_the_same_bits(tmp_path, solver):
    whole, solved = quantized(solver=solver), []

    def stop_at(number):
        def on_layer(*_):
            solved.append(1)
            if len(solved) == number:
                raise Stop

        return on_layer

    for number in (1, 2):
        solved.clear()
        with pytest.raises(Stop):
            quantized(tmp_path, solver, stop_at(number))
    assert_equal(quantized(tmp_path, solver), whole)
    assert_equal(quantized(tmp_path, solver), whole)


def _slowly(folder):
    quantized(folder, "adaround", on_layer=lambda *_: time.sleep(0.3))


def test_a_killed_run_goes_on_to_the_same_bits(tmp_path):
    process = multiprocessing.get_context("spawn").Process(target=_slowly, args=(tmp_path,))
    process.start()
    until = time.monotonic() + 120
    while not list(tmp_path.glob("*.safetensors")) and time.monotonic() < until:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert list(tmp_path.glob("*.safetensors"))
    assert_equal(quantized(tmp_path, "adaround"), quantized(solver="adaround"))


def test_finished_layers_are_not_solved_again(tmp_path, monkeypatch):
    first = quantized(tmp_path)
    monkeypatch.setattr("tersor.quant.fast_rounding._solve", None)
    assert_equal(quantized(tmp_path), first)


def test_other_options_other_data_or_another_network_are_refused(tmp_path):
    quantized(tmp_path)
    with pytest.raises(InvalidInputError, match="holds a run with another network, other options"):
        quantized(tmp_path, held_back=0.5)
    with pytest.raises(InvalidInputError, match="other data"):
        tersor.quantize(plain(), images(), data=images(64, seed=5), weights=3, folder=tmp_path)


def test_damaged_files_are_named(tmp_path):
    whole = quantized(tmp_path)
    file = sorted(tmp_path.glob("*.safetensors"))[1]
    file.write_bytes(file.read_bytes()[:40])
    with pytest.raises(InvalidInputError, match=f"{file.name}' is damaged"):
        quantized(tmp_path)
    file.unlink()
    assert_equal(quantized(tmp_path), whole)
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(InvalidInputError, match="cannot keep the progress"):
        quantized(tmp_path)


def test_folders_that_will_not_do(tmp_path):
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(InvalidInputError, match="no folder of a run"):
        quantized(tmp_path)
    with pytest.raises(InvalidInputError, match="cannot keep the progress"):
        quantized(tmp_path / "model.safetensors")


def test_a_full_disk_loses_nothing(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    journal = Journal(tmp_path, "x")
    record = Applied("layer", "round", "rounded", {"objective before": 1.0})
    journal.write("a", {"weight": torch.ones(3)}, record)
    with monkeypatch.context() as patch:
        patch.setattr("tersor.files.save_file", full)
        with pytest.raises(ExportError, match="No space left"):
            journal.write("b", {"weight": torch.ones(3)}, Skipped("layer", "round", "no"))
    found = Journal(tmp_path, "x")
    assert found.read("a")[1] == record
    assert found.read("b") is None
    assert {path.name for path in tmp_path.iterdir()} == {"manifest.json", "a.safetensors"}
