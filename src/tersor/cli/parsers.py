"""Converts option values from text, with errors that show the right form."""

import typer

Colour = tuple[float, float, float]


def shape(text: str) -> tuple[int, ...]:
    """Parse a shape such as `1,3,224,224`."""
    try:
        sizes = tuple(int(part) for part in text.split(","))
    except ValueError:
        sizes = ()
    if not sizes or min(sizes) < 1:
        raise typer.BadParameter(
            f"{text!r} is no shape; write positive whole numbers, such as 1,3,224,224"
        )
    return sizes


def colour(text: str) -> Colour:
    """Parse three numbers such as `0.485,0.456,0.406`."""
    try:
        red, green, blue = (float(part) for part in text.split(","))
    except ValueError as error:
        raise typer.BadParameter(
            f"{text!r} is not one number for each of red, green and blue; write it as "
            "0.485,0.456,0.406"
        ) from error
    return red, green, blue


def positive_colour(text: str) -> Colour:
    """Parse three numbers, all of them above 0."""
    parts = colour(text)
    if not min(parts) > 0:
        raise typer.BadParameter(f"{text!r} divides the pixels; give three numbers above 0")
    return parts


def names(text: str) -> list[str]:
    """Parse names such as `boxes,scores`."""
    found = text.split(",")
    if not all(found):
        raise typer.BadParameter(f"{text!r} has an empty name; write names such as boxes,scores")
    return found


def width(text: str) -> tuple[str, int]:
    """Parse a name and its bits, such as `head=8`."""
    name, _, bits = text.rpartition("=")
    if not name or not bits.isdecimal():
        raise typer.BadParameter(
            f"{text!r} gives no bits to a layer; write a name and bits, such as head=8"
        )
    return name, int(bits)


def fixed(text: str) -> tuple[str, list[float]]:
    """Parse an input and its value, such as `sr=16000`; commas separate several numbers."""
    name, _, value = text.rpartition("=")
    try:
        numbers = [float(part) for part in value.split(",")]
    except ValueError:
        numbers = []
    if not name or not numbers:
        raise typer.BadParameter(
            f"{text!r} gives no value to an input; write a name and a number, such as sr=16000"
        )
    return name, numbers


def tolerance(text: str) -> float | str:
    """Parse decibels such as `20`, `auto` or `off`."""
    if text in ("auto", "off"):
        return text
    try:
        return float(text)
    except ValueError as error:
        raise typer.BadParameter(
            f"{text!r} is no tolerance; write decibels, such as 20, auto or off"
        ) from error


def largest(text: str) -> tuple[str, int]:
    """Parse an axis and its largest size, such as `batch=8`."""
    name, _, size = text.rpartition("=")
    if not name or not size.isdecimal():
        raise typer.BadParameter(
            f"{text!r} gives no axis a size; write a name and a whole number, such as batch=8"
        )
    return name, int(size)


def dynamic(text: str) -> tuple[str, dict[int, str]]:
    """Parse an input and its open axes, such as `image:0=batch,2=height`."""
    name, _, axes = text.rpartition(":")
    pairs = [part.partition("=")[::2] for part in axes.split(",")]
    numbers = [axis for axis, _ in pairs]
    if not name or not all(axis.isdecimal() and label for axis, label in pairs):
        raise typer.BadParameter(
            f"{text!r} opens no axes of an input; write a name, and each axis with its name, such "
            "as image:0=batch,2=height,3=width"
        )
    if len({*map(int, numbers)}) < len(numbers):
        raise typer.BadParameter(f"{text!r} gives an axis two names; give each axis one")
    return name, {int(axis): label for axis, label in pairs}
