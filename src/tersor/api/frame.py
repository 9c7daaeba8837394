"""What the steps of a pipeline share: the target, the bits by layer, and the callbacks."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tersor.data.runs.fingerprint import fingerprint
from tersor.data.runs.journal import Journal
from tersor.data.walk.observe import Batch
from tersor.data.walk.shelf import Shelf
from tersor.graph.network import Network, OnLayer
from tersor.quant.levels import WithData
from tersor.quant.placement.place import place
from tersor.quant.scheme import Scheme

OnStep = Callable[[str], None]


@dataclass(frozen=True)
class Frame:
    """The target of a pipeline, and the callbacks that report its progress.

    Attributes:
        scheme: The target.
        weight_bits: Bits of the weights by layer name, where they are not the scheme's.
        activation_bits: Bits of a layer's inputs by layer name, where they are not the scheme's.
        exclude: Names of layers and modules that stay in floating point.
        kept: Names of calls that stay in floating point so that the outputs are accurate.
        say: Called with the name of each step.
        on_layer: Called after each layer that is rounded with data.
        folder: Where finished layers are saved while weights are rounded with data.
        shelf: Keeps the values of all samples while weights are rounded.
    """

    scheme: Scheme
    weight_bits: Mapping[str, int] = field(default_factory=dict)
    activation_bits: Mapping[str, int] = field(default_factory=dict)
    exclude: tuple[str, ...] = ()
    kept: frozenset[str] = frozenset()
    say: OnStep = lambda _: None
    on_layer: OnLayer | None = None
    folder: str | Path | None = None
    shelf: Shelf | None = None

    def place(self, network: Network) -> frozenset[str]:
        """Place the quantizers; returns the names of the calls that stay in floating point."""
        bits = self.weight_bits, self.activation_bits
        return place(network, self.scheme, self.exclude, *bits, self.kept)

    def journal(
        self, network: Network, batches: Sequence[Batch], options: WithData
    ) -> Journal | None:
        """The finished layers of the same run, or None without a folder."""
        if self.folder is None:
            return None
        return Journal(self.folder, fingerprint(network, batches, (self.scheme, options)))


def split_bits(bits: int | Mapping[str, int] | None) -> tuple[int | None, Mapping[str, int]]:
    """Split bits into those of every layer, and those by name."""
    return (None, bits) if isinstance(bits, Mapping) else (bits, {})
