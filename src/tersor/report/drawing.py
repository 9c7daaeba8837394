"""Draws a network as lanes, as version control draws branches: one line per cell.

A value runs down the lane of the cell that computed it, to the last cell that reads it. That cell
continues the lane. A chain is one lane, and a shortcut is a second one.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from tersor.report.contents import Cell, Link

ROW, LANE, RADIUS = 28, 16, 5  # pixels


@dataclass(frozen=True)
class Stroke:
    """A value on its way to a reader.

    Attributes:
        path: The path in SVG.
        bits: Its bits, or None in float.
    """

    path: str
    bits: int | None


@dataclass(frozen=True)
class Drawing:
    """The layout of the picture.

    Attributes:
        lanes: Lane of each cell.
        strokes: The values.
        width: Width of the picture in pixels.
        height: Height of the picture in pixels.
    """

    lanes: tuple[int, ...]
    strokes: tuple[Stroke, ...]
    width: int
    height: int

    def dots(self) -> list[tuple[int, int]]:
        """The centre of each cell."""
        return [_middle(lane, row) for row, lane in enumerate(self.lanes)]


def draw(cells: Sequence[Cell]) -> Drawing:
    """Find a lane for each cell.

    Args:
        cells: The cells, in order.
    """
    last = {link.source: row for row, cell in enumerate(cells) for link in cell.inputs}
    lanes: list[int] = []
    busy: dict[int, int] = {}  # lane → the cell whose value is in it
    strokes = []
    for row, cell in enumerate(cells):
        ending = [link.source for link in cell.inputs if last[link.source] == row]
        strokes_from = [(link, lanes[link.source]) for link in cell.inputs]
        for source in ending:
            busy.pop(lanes[source], None)
        free = [lanes[source] for source in ending] or [_free(busy)]
        lane = min(free)
        lanes.append(lane)
        strokes += [_stroke(link, start, lane, row) for link, start in strokes_from]
        if row in last:
            busy[lane] = row
    width = (max(lanes, default=0) + 1) * LANE
    return Drawing(tuple(lanes), tuple(strokes), width, len(cells) * ROW)


def _free(busy: dict[int, int]) -> int:
    return next(lane for lane in range(len(busy) + 1) if lane not in busy)


def _middle(lane: int, row: int) -> tuple[int, int]:
    return lane * LANE + LANE // 2, row * ROW + ROW // 2


def _stroke(link: Link, start: int, end: int, row: int) -> Stroke:
    """Draw a value down the lane of its source, and over to the reader in the last row."""
    (x, y), (to_x, to_y) = _middle(start, link.source), _middle(end, row)
    path = f"M{x} {y}V{to_y - ROW}"
    bend = to_y - ROW // 2
    path += f"C{x} {bend} {to_x} {bend} {to_x} {to_y}" if x != to_x else f"V{to_y}"
    return Stroke(path, link.bits)
