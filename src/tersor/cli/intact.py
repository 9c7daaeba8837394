"""`tersor verify FILE`: whether a file is what Tersor wrote, and computes what it did then."""

from tersor.cli.output import one_line, say, show


def check_intact(path: str, given: dict[str, object], as_json: bool, debug: bool) -> None:
    """Say whether a file is and computes what it did, and exit with a code of its own if not.

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
    from tersor.export.proof.examined import examine

    with one_line(debug):
        idle = [f"--{name.replace('_', '-')}" for name, value in given.items() if value is not None]
        if idle:
            raise InvalidInputError(
                f"{idle[0]} has no effect without the float model; give both files, the float one "
                "first"
            )
        found = examine(path)
    if as_json:
        show({"path": path, **found.as_dict()})
    elif not found.changes:
        say(f"{path} is what was written. {found.said}")
        say("Give its float model first to compare the two.")
    fail(tuple(f"{path}: {sentence}" for sentence in found.changes))
