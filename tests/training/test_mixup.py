"""Training on mixtures of samples."""

from itertools import islice

import pytest
import torch

import tersor
from tersor import Training
from tersor.errors import InvalidInputError
from tersor.training.feed import Feed
from tests.training.setting import Shuffled, batches, difference, labelled, quantized, short


def test_no_sample_stays_and_all_lie_between_two():
    whole = torch.cat(batches(1))
    feed = Feed(quantized().network, [whole], False, 0)
    ((mixture,), _), ((plain,), _) = (next(feed.stream(0, mixup=m)).inputs for m in (1.0, 0.0))
    assert torch.equal(plain, whole)
    matches = [
        _on_the_line(row, whole[i], whole[j])
        for i, row in enumerate(mixture)
        for j in range(len(whole))
        if j != i
    ]
    assert sum(matches) >= len(whole) - 2  # a sample may be its own partner
    assert not torch.equal(mixture, whole)


def _on_the_line(x, first, second):
    step = second - first
    part = float(((x - first) * step).sum() / (step * step).sum())
    return torch.allclose(first + part * step, x, atol=1e-5)


def test_two_processes_get_the_halves_of_one_mixture():
    feed = Feed(quantized().network, batches(), False, 3)
    ((whole,), _), *parts = (
        next(feed.stream(2, part, 1.0)).inputs for part in ((0, 1), (0, 2), (1, 2))
    )
    assert torch.equal(torch.cat([args[0] for args, _ in parts]), whole)


def test_batches_that_are_skipped_change_no_mixture():
    feed = Feed(quantized().network, Shuffled(), False, 3)
    all_of_them = [x.inputs[0][0] for x in islice(feed.stream(mixup=1.0), 9)]
    ((last,), _) = next(feed.stream(8, mixup=1.0)).inputs
    assert torch.equal(all_of_them[-1], last)


def test_a_run_that_was_stopped_mixes_what_it_would_have_mixed(tmp_path):
    options = short(mixup=1.0, checkpoint_every=1)
    whole = tersor.train(quantized(), Shuffled(), options=options)

    def stop(done, total, loss):
        if done == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tersor.train(quantized(), Shuffled(), options=options, folder=tmp_path, on_batch=stop)
    resumed = tersor.train(quantized(), Shuffled(), options=options, folder=tmp_path)
    assert difference(whole, resumed) == 0
    assert difference(whole, tersor.train(quantized(), Shuffled(), options=short())) > 0


def test_where_samples_cannot_be_mixed():
    with pytest.raises(InvalidInputError, match=r"mixup=1 has no effect with loss="):
        tersor.train(
            quantized(), labelled(), torch.nn.functional.cross_entropy, options=short(mixup=1.0)
        )
    words = torch.nn.Sequential(torch.nn.Embedding(9, 4), torch.nn.Linear(4, 3)).eval()
    x = torch.randint(9, (8, 5))
    q = tersor.quantize(words, x[:2], data=x)
    with pytest.raises(InvalidInputError, match="int64 numbers, which have nothing in between"):
        tersor.train(q, [x], options=Training(steps=1, mixup=0.5))
