"""A watcher sees every value once, whoever reads it, and in whatever slices."""

import torch

from tersor.data.walk.per_batch import Computed
from tersor.data.walk.watched import Watched


def test_each_value_is_shown_once():
    computed, seen = list[int](), dict[int, int]()

    def value(x):
        computed.append(x)
        return torch.full((2,), float(x))

    watched = Watched(Computed(value, [0, 1, 2, 3]), lambda at, x: seen.update({at: int(x[0])}))
    part = watched[1:][1:]
    assert [int(x[0]) for x in part] == [2, 3]
    assert int(watched[2][0]) == 2
    assert (seen, computed) == ({2: 2, 3: 3}, [2, 3, 2])
    watched.look()
    assert (seen, computed) == ({2: 2, 3: 3, 0: 0, 1: 1}, [2, 3, 2, 0, 1])
    watched.look()
    assert len(computed) == 5
    assert (len(watched), watched.length(0), len(part)) == (4, 2, 2)
