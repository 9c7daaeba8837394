"""All files of the corpus, by name."""

from benchmarks.real_files.entries import (
    arabic_names,
    basic_pitch,
    ddddocr,
    easyocr,
    identity,
    magika,
    nudenet,
    open_nsfw,
    paddle,
    rxnmap,
    silero,
    surfaces,
)
from benchmarks.real_files.entry import Entry

_ALL: tuple[Entry, ...] = (
    nudenet.DETECTOR,
    paddle.CLASSIFIER,
    paddle.DETECTOR,
    paddle.READER,
    magika.CLASSIFIER,
    *silero.FILES,
    ddddocr.READER,
    ddddocr.DETECTOR,
    basic_pitch.NOTES,
    *arabic_names.FILES,
    open_nsfw.CLASSIFIER,
    rxnmap.MAPPER,
    *surfaces.FILES,
    easyocr.DETECTOR,
    easyocr.READER,
    identity.FACE,
    identity.VOICE,
)

ENTRIES = {entry.name: entry for entry in _ALL}
