"""A run that was stopped goes on, to the same bits; folders of other runs are refused."""

import multiprocessing
import os
import signal
import time

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

import tersor
from tersor.data.runs.journal import Journal
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
    with pytest.raises(InvalidInputError, match="holds a run with other options; give another"):
        quantized(tmp_path, held_back=0.5)
    with pytest.raises(InvalidInputError, match=r"holds a run with .*other data; give another"):
        tersor.quantize(plain(), images(), data=images(64, seed=5), weights=3, folder=tmp_path)


def test_damaged_files_are_named(tmp_path):
    whole = quantized(tmp_path)
    file = sorted(tmp_path.glob("*.safetensors"))[1]
    file.write_bytes(file.read_bytes()[:40])
    with pytest.raises(InvalidInputError, match=f"{file.name}' is damaged"):
        quantized(tmp_path)
    file.unlink()
    assert_equal(quantized(tmp_path), whole)
    for damaged in (b"{", b"[]", b"\xff", b"[" * 100_000):
        (tmp_path / "manifest.json").write_bytes(damaged)
        with pytest.raises(InvalidInputError, match="cannot keep the progress"):
            quantized(tmp_path)


def test_pipes_in_the_folder_are_not_waited_for(tmp_path):
    run = {"network": "x"}
    journal = Journal(tmp_path, run)
    os.mkfifo(tmp_path / "00000.safetensors")
    with pytest.raises(InvalidInputError, match=r"00000.*damaged .*no plain file"):
        journal.read("00000")
    (tmp_path / "manifest.json").unlink()
    (tmp_path / "00000.safetensors").unlink()
    os.mkfifo(tmp_path / "manifest.json")
    with pytest.raises(InvalidInputError, match="no plain file"):
        Journal(tmp_path, run)


def _swap(files):
    first, second = files[0].read_bytes(), files[1].read_bytes()
    files[0].write_bytes(second)
    files[1].write_bytes(first)


def _flip(files):
    content = bytearray(files[0].read_bytes())
    content[-9] ^= 4
    files[0].write_bytes(content)


def _edit(change):
    """Another value of each tensor, in a file that is sound otherwise."""

    def edit(files):
        with safe_open(files[0], "pt") as file:
            told = file.metadata()
            found = {name: change(file.get_tensor(name)) for name in file.keys()}  # noqa: SIM118
        save_file(found, files[0], told)

    return edit


DAMAGE = {
    "swapped": _swap,
    "a bit": _flip,
    "negated": _edit(lambda x: -x),
    "NaN": _edit(lambda x: x * float("nan")),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_layers_that_are_not_what_was_written_are_refused(kind, tmp_path):
    run = {"network": "x"}
    for key, value in (("00000", 1.0), ("00001", 2.0)):
        record = Applied(key, "round", "rounded", {})
        Journal(tmp_path, run).write(key, {"weight": torch.full((3, 3), value)}, record)
    DAMAGE[kind](sorted(tmp_path.glob("*.safetensors")))
    with pytest.raises(InvalidInputError, match=r"00000.*is damaged"):
        Journal(tmp_path, run).read("00000")


def test_a_layer_of_another_run_is_refused(tmp_path):
    for name in ("a", "b"):
        record = Applied("layer", "round", "rounded", {})
        Journal(tmp_path / name, {"network": name}).write("0", {"w": torch.ones(3)}, record)
    (tmp_path / "a" / "0.safetensors").replace(tmp_path / "b" / "0.safetensors")
    with pytest.raises(InvalidInputError, match="is damaged"):
        Journal(tmp_path / "b", {"network": "b"}).read("0")


def test_folders_that_will_not_do(tmp_path):
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(InvalidInputError, match="no folder of a run"):
        quantized(tmp_path)
    with pytest.raises(InvalidInputError, match="cannot keep the progress"):
        quantized(tmp_path / "model.safetensors")


def test_a_full_disk_loses_nothing(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    run = {"network": "x"}
    journal = Journal(tmp_path, run)
    record = Applied("layer", "round", "rounded", {"objective before": 1.0})
    journal.write("a", {"weight": torch.ones(3)}, record)
    with monkeypatch.context() as patch:
        patch.setattr("tersor.files.save_file", full)
        with pytest.raises(ExportError, match="No space left"):
            journal.write("b", {"weight": torch.ones(3)}, Skipped("layer", "round", "no"))
    found = Journal(tmp_path, run)
    assert found.read("a")[1] == record
    assert found.read("b") is None
    assert {path.name for path in tmp_path.iterdir()} == {"manifest.json", "a.safetensors"}


def test_a_layer_has_the_same_bits_in_every_folder(tmp_path):
    record = Applied("layer", "round", "rounded", {"loss": 0.5})
    for name in "abcdef":
        folder = Journal(tmp_path / name, {"network": "1"})
        folder.write("00000", {"weight": torch.ones(3), "scale": torch.ones(1)}, record)
    files = [path.read_bytes() for path in tmp_path.glob("*/00000.safetensors")]
    assert len(files) == 6
    assert len({*files}) == 1


def test_what_a_killed_run_left_goes_when_the_folder_is_opened(tmp_path):
    Journal(tmp_path, {"network": "1"})
    (tmp_path / ".tersor-killed").mkdir()
    (tmp_path / ".tersor-killed" / "content").write_bytes(b"half")
    Journal(tmp_path, {"network": "1"})
    assert [path.name for path in tmp_path.iterdir()] == ["manifest.json"]
