"""Reads texts as the numbers that a language model takes, with the `tokenizer.json` beside it."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tersor.data.given.feeds import Arrays
from tersor.errors import InvalidInputError, UnsupportedError
from tersor.frontend.explain import first_line

if TYPE_CHECKING:
    from tokenizers import Tokenizer

TEXTS = (".txt",)
_PADDING = ("[PAD]", "<pad>")  # the usual names of the token that fills up
_LONGEST = 128  # tokens, unless the tokenizer says otherwise


def load_texts(path: str | Path, tokenizer: str | Path | None) -> Arrays:
    """Read a file of texts as token numbers of one length.

    Args:
        path: A `.txt` file with a text per line; empty lines are ignored.
        tokenizer: The `tokenizer.json` of the model. Its own truncation and padding count; without
            them texts are cut after 128 tokens and padded to the longest.

    Returns:
        `input_ids`, `attention_mask` and `token_type_ids`, each `[texts, tokens]` of int64.

    Raises:
        InvalidInputError: A file cannot be read, there is no text, or no tokenizer is given.
        UnsupportedError: The package `tokenizers` is not installed.
    """
    path = Path(path)
    if tokenizer is None:
        raise InvalidInputError(
            f"{str(path)!r} holds texts, and the model takes numbers; give the tokenizer.json of "
            "the model with --tokenizer"
        )
    lines = _lines(path)
    found = _tokenizer(Path(tokenizer)).encode_batch(lines)
    return {
        "input_ids": np.array([x.ids for x in found], np.int64),
        "attention_mask": np.array([x.attention_mask for x in found], np.int64),
        "token_type_ids": np.array([x.type_ids for x in found], np.int64),
    }


def _lines(path: Path) -> list[str]:
    if not path.is_file():
        raise InvalidInputError(f"{str(path)!r}: there is no such file")
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise InvalidInputError(f"{str(path)!r} is not UTF-8; save it as such") from error
    found = [line.strip() for line in lines if line.strip()]
    if not found:
        raise InvalidInputError(f"{str(path)!r} holds no text; give at least one line")
    return found


def _tokenizer(path: Path) -> "Tokenizer":
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise UnsupportedError(
            "tokenizers, which reads texts, is not installed: pip install 'tersor[text]'"
        ) from error
    if not path.is_file():
        raise InvalidInputError(f"{str(path)!r}: there is no such file")
    try:
        found = Tokenizer.from_file(str(path))
    except Exception as error:
        raise InvalidInputError(
            f"{str(path)!r} is not a readable tokenizer.json ({first_line(error)}); give the one "
            "that belongs to the model"
        ) from error
    if found.truncation is None:
        found.enable_truncation(_LONGEST)
    if found.padding is None:
        known = [x for x in _PADDING if found.token_to_id(x) is not None]
        token = known[0] if known else _PADDING[0]
        found.enable_padding(pad_id=found.token_to_id(token) or 0, pad_token=token)
    return found
