"""What is told of a file whose outputs are not those of its simulation."""

from math import inf

import pytest

from tersor.export.proof.misfits import other_than_simulated, without_numbers
from tersor.export.proof.tally import Comparison


def outputs(sqnr):
    return {"y": Comparison(sqnr, 0.1, 1.0, None)}


@pytest.mark.parametrize(
    ("exported", "simulated", "exact", "told"),
    [
        (140.0, 20.0, 20.0, False),
        (inf, inf, inf, False),
        (28.0, 22.0, 21.5, False),  # sums in the middle of two integers
        (60.0, 30.0, 26.5, True),
        (5.0, 30.0, 4.0, True),
        (-inf, 30.0, -inf, True),
        (40.0, inf, 40.0, True),
    ],
)
def test_a_file_that_is_not_what_was_simulated(exported, simulated, exact, told):
    found = list(other_than_simulated(*map(outputs, (exported, simulated, exact))))
    assert len(found) == told
    assert not list(other_than_simulated({}, outputs(simulated), outputs(exact)))


def test_outputs_that_are_no_numbers():
    counts = {("float", "y"): 0, ("runtime", "y"): 2, ("exact", "y"): 2}
    (told,) = without_numbers(counts)
    assert told.startswith("output 'y' of the file holds NaN on 2 samples")
