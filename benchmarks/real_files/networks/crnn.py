"""A reader of lines: convolutions, two LSTMs in both directions, and CTC (arXiv 1507.05717)."""

from torch import Tensor, nn

#: Channels in and out, size, and whether BatchNorm follows, or how much is pooled.
_LAYERS = (
    (1, 32, 3, False, (2, 2)),
    (32, 64, 3, False, (2, 2)),
    (64, 128, 3, False, None),
    (128, 128, 3, False, (2, 1)),
    (128, 256, 3, True, None),
    (256, 256, 3, True, (2, 1)),
    (256, 256, 2, False, None),
)


class Reader(nn.Module):
    """Scores of characters along a line.

    Input (n, 1, 64, width), output (n, width / 4 − 1, 97).
    """

    def __init__(self) -> None:
        """Initialize with random weights."""
        super().__init__()
        self.FeatureExtraction = _Convolutions()
        self.SequenceModeling = nn.Sequential(_Both(), _Both())
        self.Prediction = nn.Linear(256, 97)

    def forward(self, x: Tensor) -> Tensor:
        """Read lines."""
        features = self.FeatureExtraction(x).mean(2).transpose(1, 2)
        return self.Prediction(self.SequenceModeling(features))


class _Convolutions(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for channels, out, size, normed, pooled in _LAYERS:
            layers.append(nn.Conv2d(channels, out, size, padding=size // 3, bias=not normed))
            if normed:
                layers.append(nn.BatchNorm2d(out))
            layers.append(nn.ReLU())
            if pooled:
                layers.append(nn.MaxPool2d(pooled, pooled))
        self.ConvNet = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.ConvNet(x)


class _Both(nn.Module):
    """An LSTM in both directions, and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(256, 256, bidirectional=True, batch_first=True)
        self.linear = nn.Linear(512, 256)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.rnn(x)[0])
