"""The progress bar, as a terminal shows it."""

import io
import re

import pytest
import torch
from rich.console import Console
from torch import nn

import tersor
from tersor.graph.network import Applied, Skipped
from tersor.report import progress as module
from tersor.report.progress import progress, shows_progress


@pytest.fixture
def terminal(monkeypatch):
    """What is written while standard error is a terminal."""
    shown = io.StringIO()
    monkeypatch.setattr(
        module, "Console", lambda **_: Console(file=shown, force_terminal=True, width=100)
    )
    return shown


def test_shows_step_count_and_time(terminal):
    with progress(3) as bar:
        bar.step("first step")
        bar.step("second step")
        assert list(bar.track([1, 2, 3])) == [1, 2, 3]
    text = terminal.getvalue()
    assert "second step" in text
    assert "1/3" in text  # one is done, the second is running
    assert "batches" in text
    assert "3/3" in text
    assert "0:00:00" in text
    assert "left" in text


def visible(bar):
    return sum(task.visible for task in bar._shown.tasks)


def test_the_time_left_counts_from_the_start_of_the_step(terminal, monkeypatch):
    now = [0.0]
    with progress(1) as bar:
        monkeypatch.setattr(bar._shown, "get_time", lambda: now[0])
        bar.step("round")
        now[0] = 100.0  # longer than rich looks back
        bar.layer(1, 4, Applied("conv1", "round", "done"))
        monkeypatch.setattr(bar._shown.tasks[-1], "_get_time", lambda: now[0])
        bar._shown.refresh()
        assert "left 0:05:00" in re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", terminal.getvalue())


def test_layers_have_a_bar_of_their_own(terminal):
    numbers = {"error before": 2.0, "error after": 1.0}
    with progress(1) as bar:
        bar.step("round")
        bar.layer(1, 3, Applied("conv1", "round", "done"))
        bar.layer(2, 3, Skipped("conv2", "round", "no other rounding is better"))
        bar._shown.refresh()
        assert visible(bar) == 2
        bar.layer(3, 3, Applied("conv3", "round", "done"))
        assert visible(bar) == 1
        bar.layer(1, 2, Applied("block", "reconstruct", "done", numbers))
        bar._shown.refresh()
        assert visible(bar) == 2
    text = terminal.getvalue()
    assert "conv2" in text
    assert "2/3" in text
    assert "block: 2 → 1" in text
    assert "1/2" in text


def test_a_layer_is_shown_with_its_error_before_and_after(terminal):
    numbers = {"objective before": 0.51234, "objective after": 0.0321}
    with progress(1) as bar:
        bar.layer(1, 3, Applied("[conv]1", "round", "done", numbers))
        bar._shown.refresh()
    assert "[conv]1: 0.512 → 0.0321" in terminal.getvalue()


def test_an_iterator_without_a_length_is_counted(terminal):
    with progress(1) as bar:
        assert list(bar.track(x for x in (1, 2, 3))) == [1, 2, 3]
    assert "3/?" in terminal.getvalue()


def test_is_silent_without_a_terminal(capfd):
    with progress(2) as bar:
        bar.step("only step")
        assert list(bar.track([1])) == [1]
    assert capfd.readouterr() == ("", "")


def test_a_log_file_gets_a_line_a_minute(capfd, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(module, "monotonic", lambda: now[0])
    with progress(2) as bar:
        bar.step("first step")
        now[0] = 61.0
        bar.layer(1, 3, Applied("[conv]1", "round", "done"))
        bar.layer(2, 3, Applied("conv2", "round", "done"))
        now[0] = 122.0
        bar.step("second step")
    lines = capfd.readouterr().err.splitlines()
    assert [line[9:] for line in lines] == ["first step: 1 of 3, [conv]1", "second step"]


@pytest.mark.parametrize("has_widgets", [True, False])
def test_a_notebook_shows_a_bar_if_it_has_widgets(monkeypatch, has_widgets):
    console = Console(file=io.StringIO(), force_jupyter=True)
    monkeypatch.setattr(module, "Console", lambda **_: console)
    monkeypatch.setattr(module, "find_spec", lambda _: object() if has_widgets else None)
    assert module._bars().disable is not has_widgets


def test_an_error_passes_through(terminal):
    with pytest.raises(ValueError, match="inside"), progress(1):
        raise ValueError("inside")


def test_a_step_that_comes_again_counts_once(terminal):
    with progress(2) as bar:
        for name in ("choose", "compress", "choose", "compress"):
            bar.step(name)
        bar._shown.refresh()
    assert "1/2" in terminal.getvalue()
    assert "3/2" not in terminal.getvalue()


@shows_progress(2)
def inner(on_step=None):
    on_step = on_step or (lambda _: None)
    on_step("inner step")


@shows_progress(2)
def outer(on_step=None, on_part=None, number=1):
    on_step("outer step")
    on_part(number, 3, Applied("conv1", "round", "done"))
    inner()
    return number


def test_a_long_call_shows_a_bar_and_one_inside_of_it_none(terminal):
    assert outer(number=2) == 2
    assert "outer step" in terminal.getvalue()
    assert "inner step" not in terminal.getvalue()
    inner()
    assert "inner step" in terminal.getvalue()


def test_who_is_told_sees_no_bar(terminal):
    told = []
    inner(on_step=told.append)
    assert told == ["inner step"]
    assert not terminal.getvalue()


def test_long_calls_of_the_library_show_a_bar(terminal):
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3)).eval()
    found = tersor.compress(model, torch.rand(1, 3, 8, 8), macs=0.8)
    assert "compress" in terminal.getvalue()
    terminal.truncate(0)
    found.report(verify=False)
    assert "measure the layers" in terminal.getvalue()
