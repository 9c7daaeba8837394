"""What the tests of the commands share."""

import numpy as np
import pytest
import torch

from tests import nets


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """Inputs, labelled with what the float model says."""
    path = tmp_path_factory.mktemp("data") / "data.npz"
    images = nets.images(70)
    with torch.no_grad():
        labels = nets.plain()(images).argmax(1)
    np.savez(path, input=images.numpy(), labels=labels.numpy())
    return path
