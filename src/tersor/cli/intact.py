"""`tersor verify FILE`: whether a file that Tersor wrote is still what was written."""

from pathlib import Path

import typer

from tersor.cli.output import one_line, show


def check_intact(path: str, given: dict[str, object], as_json: bool, debug: bool) -> None:
    """Say whether a file was changed since it was written, and exit with a code of its own if so.

    Args:
        path: The file.
        given: Options that have no effect without a float model → their values.
        as_json: Whether to print JSON.
        debug: Whether to let errors through.

    Raises:
        Exit: The file was changed, or nothing can be said.
    """
    from tersor.cli.proving import fail
    from tersor.errors import InvalidInputError
    from tersor.export.seal import changes

    with one_line(debug):
        idle = [f"--{name.replace('_', '-')}" for name, value in given.items() if value is not None]
        if idle:
            raise InvalidInputError(
                f"{idle[0]} has no effect without the float model; give both files, the float one "
                "first"
            )
        if Path(path).suffix != ".onnx":
            raise InvalidInputError(f"{path!r} is no .onnx file; give one, or two to compare them")
        found = changes(path)
        if found is None:
            raise InvalidInputError(
                f"{path!r} does not say what was written; Tersor did not write it, or an older "
                "version did. Compare it with its float model: tersor verify FLOAT FILE"
            )
    if as_json:
        show({"path": path, "changes": found})
    elif not found:
        typer.echo(f"{path} is what was written. Give its float model first to compare the two.")
    fail(tuple(f"{path}: {sentence}" for sentence in found))
