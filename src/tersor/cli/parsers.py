"""What is written behind an option becomes a value, or an error that shows how to write it."""

import typer

Colour = tuple[float, float, float]


def shape(text: str) -> tuple[int, ...]:
    """`1,3,224,224` as numbers."""
    try:
        sizes = tuple(int(part) for part in text.split(","))
    except ValueError:
        sizes = ()
    if not sizes or min(sizes) < 1:
        raise typer.BadParameter(f"{text!r} is no shape; write it as 1,3,224,224")
    return sizes


def colour(text: str) -> Colour:
    """`0.485,0.456,0.406` as numbers."""
    try:
        red, green, blue = (float(part) for part in text.split(","))
    except ValueError as error:
        raise typer.BadParameter(
            f"{text!r} is not one number for each of red, green and blue; write it as "
            "0.485,0.456,0.406"
        ) from error
    return red, green, blue


def positive_colour(text: str) -> Colour:
    """The same where no number may be 0 or less."""
    parts = colour(text)
    if not min(parts) > 0:
        raise typer.BadParameter(f"{text!r} divides the pixels, so it has to be above 0")
    return parts


def width(text: str) -> tuple[str, int]:
    """`head=8` as a name and bits."""
    name, _, bits = text.rpartition("=")
    if not name or not bits.isdecimal():
        raise typer.BadParameter(f"{text!r} gives no bits to a layer; write it as head=8")
    return name, int(bits)
