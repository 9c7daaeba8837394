"""The progress bar, as a terminal shows it."""

import io

import pytest
from rich.console import Console

from tersor.report import progress as module
from tersor.report.progress import progress


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


def test_is_silent_without_a_terminal(capfd):
    with progress(2) as bar:
        bar.step("only step")
        assert list(bar.track([1])) == [1]
    assert capfd.readouterr() == ("", "")


def test_an_error_passes_through(terminal):
    with pytest.raises(ValueError, match="inside"), progress(1):
        raise ValueError("inside")
