"""The example of the README runs, and prints what the README says it prints."""

import re
from pathlib import Path

import torch

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def test_example_prints_what_it_says(tmp_path, monkeypatch, capsys):
    code, printed = re.search(
        r"```python\n(.*?)```\s+```text\n(.*?)```", README, re.DOTALL
    ).groups()
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    exec(compile(code, "README.md", "exec"), {})  # noqa: S102
    assert capsys.readouterr().out == printed
    assert (tmp_path / "model.int8.onnx").is_file()


def test_length():
    assert 60 <= len(README.splitlines()) <= 100
