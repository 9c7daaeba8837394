"""Samples in files: tables of numbers, tensors, and texts."""

import json

import numpy as np
import pytest
import torch

from tersor.data.given.number_tables import load_table
from tersor.data.given.sources import find_source
from tersor.data.given.tensor_files import load_tensors
from tersor.data.given.texts import load_texts
from tersor.errors import InvalidInputError

TABLES = {
    "plain": "1,2.5\n-3,4e1\n",
    "named": "a,b\n1,2.5\n-3,4e1\n",
    "semicolons": "a;b\n1;2.5\n\n-3;4e1\n",
    "blanks": "1 2.5\n-3 4e1",
}


@pytest.mark.parametrize("text", TABLES.values(), ids=TABLES)
def test_a_table_is_one_input(text, tmp_path):
    (tmp_path / "a.csv").write_text(text)
    arrays, labels = load_table(tmp_path / "a.csv")
    np.testing.assert_array_equal(arrays["a.csv"], np.float32([[1, 2.5], [-3, 40]]))
    assert arrays["a.csv"].dtype == np.float32
    assert labels is None


def test_a_column_of_a_table_holds_the_labels(tmp_path):
    (tmp_path / "a.csv").write_text("x,Label,y\n1,7,2\n3,8,4\n")
    source = find_source(str(tmp_path / "a.csv"))
    assert source.labels.tolist() == [7, 8]
    np.testing.assert_array_equal(next(iter(source)), [[1, 2], [3, 4]])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n3,four\n", r"line 3: 'four' is no number"),
        ("1,2\n3\n", r"line 2: 1 columns, but 2"),
        ("a,b\n", "no line of numbers"),
        ("\n", "is empty"),
        ("1,nan\n", "NaN"),
        ("a,label\n1,0.5\n", "no whole numbers"),
        ("a,label\n1,1e30\n", "no whole numbers"),
        ("1e39,2\n", "NaN or infinite"),
        ("a,b,label\n1\n", "names 3 columns and has 1"),
        ('"' + "1" * 200_000 + '",2\n', "quoted cells"),
        ('"1\n2",3\n', "quoted cells"),
    ],
)
def test_a_broken_table_is_refused_by_line(text, message, tmp_path):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(InvalidInputError, match=message):
        load_table(tmp_path / "a.csv")


X, Y = torch.arange(6.0).view(3, 2), torch.arange(3)


@pytest.mark.parametrize(
    ("stored", "names", "labelled"),
    [
        (X, ["a.pt"], False),
        ((X, Y), ["0"], True),
        ([X, -X], ["0", "1"], False),
        ({"x": X, "labels": Y}, ["x"], True),
    ],
)
def test_tensors_are_inputs_in_order_or_by_name(stored, names, labelled, tmp_path):
    torch.save(stored, tmp_path / "a.pt")
    arrays, labels = load_tensors(tmp_path / "a.pt")
    assert list(arrays) == names
    np.testing.assert_array_equal(arrays[names[0]], X)
    assert (None if labels is None else labels.tolist()) == ([0, 1, 2] if labelled else None)


class Code:
    """What must not be run."""

    def __reduce__(self):
        return print, ("run",)


def test_tensors_in_bfloat16_are_read_as_float32(tmp_path):
    torch.save(X.bfloat16(), tmp_path / "a.pt")
    (array,) = load_tensors(tmp_path / "a.pt")[0].values()
    np.testing.assert_array_equal(array, X.bfloat16().float())


@pytest.mark.parametrize(
    ("stored", "message"),
    [
        (Code(), "not a readable file of tensors"),
        ({"x": X, "y": 3}, "holds int"),
        ([], "holds nothing"),
        ({"weight": X, "bias": torch.ones(5)}, "same number of samples"),
        (torch.zeros(1).expand(2**34), "repeat values that the file has once"),
        (torch.zeros(2, 2).to_sparse(), "no form as an array"),
        (torch.zeros(2, 2, device="meta"), "no form as an array"),
    ],
)
def test_other_files_are_refused_and_run_nothing(stored, message, tmp_path, capsys):
    torch.save(stored, tmp_path / "a.pt")
    with pytest.raises(InvalidInputError, match=message):
        load_tensors(tmp_path / "a.pt")
    assert capsys.readouterr().out == ""


@pytest.fixture
def tokenizer(tmp_path):
    """A number for each of four words."""
    words = {"[PAD]": 3, "one": 0, "two": 1, "[UNK]": 2}
    model = {"type": "WordLevel", "vocab": words, "unk_token": "[UNK]"}
    path = tmp_path / "tokenizer.json"
    path.write_text(
        json.dumps({"version": "1.0", "model": model, "pre_tokenizer": {"type": "Whitespace"}})
    )
    return path


def test_texts_are_padded_token_numbers(tokenizer, tmp_path):
    (tmp_path / "a.txt").write_text("two one\n\nthree\n")
    found = load_texts(tmp_path / "a.txt", tokenizer)
    assert found["input_ids"].tolist() == [[1, 0], [2, 3]]
    assert found["attention_mask"].tolist() == [[1, 1], [1, 0]]
    assert {x.dtype for x in found.values()} == {np.dtype(np.int64)}
    (batch,) = find_source(str(tmp_path / "a.txt"), tokenizer=tokenizer)
    np.testing.assert_array_equal(batch["input_ids"], found["input_ids"])


def test_long_texts_are_cut(tokenizer, tmp_path):
    (tmp_path / "a.txt").write_text("one " * 500)
    assert load_texts(tmp_path / "a.txt", tokenizer)["input_ids"].shape == (1, 128)


def test_texts_need_a_tokenizer(tmp_path):
    (tmp_path / "a.txt").write_text("one")
    with pytest.raises(InvalidInputError, match=r"give the tokenizer.json .*--tokenizer"):
        find_source(str(tmp_path / "a.txt"))
    (tmp_path / "b.json").write_text("{}")
    with pytest.raises(InvalidInputError, match=r"b\.json' is not a readable tokenizer"):
        load_texts(tmp_path / "a.txt", tmp_path / "b.json")
