"""Measure the damage of quantization: in total, by side, and by quantizer, with the reasons."""

from itertools import accumulate

from tersor.api.diagnosis.findings import Check, Culprit, Finding, amount
from tersor.api.diagnosis.remedies import Case, remedies
from tersor.graph.network import Network, OnLayer, Skipped
from tersor.quant.noise.alone import QuantizerUse, Side, only, quantizer_uses, sweep
from tersor.quant.noise.symptoms import symptoms

_SIDES: tuple[Side, ...] = ("weights", "activations")
_SWEPT = 2  # batches on which each quantizer is tried
_WORST = 6  # quantizers that are explained, and considered for remedies
_MATTERS = 0.25  # share of the larger of two damages, from which a side counts as guilty
_MOST = 0.9  # share of the damage of all quantizers that the blamed ones account for


class Exam:
    """The damage of a network and of its parts, each rounded to nearest on its own.

    Attributes:
        damage: Damage of the quantized network.
        alone: Damage of the weights alone, and of the activations alone.
        culprits: The damage of each quantizer alone, the worst first. Empty until `sweep` is
            called.
    """

    def __init__(self, case: Case, quantized: Network, tolerance: float) -> None:
        """Measure the quantized network, and its two sides.

        Args:
            case: The network, how it is quantized, and the samples on which it is judged.
            quantized: The network as `quantize` returns it.
            tolerance: The largest acceptable damage.
        """
        self._case, self._tolerance = case, tolerance
        self._nearest = case.nearest()
        self._uses = quantizer_uses(self._nearest)
        self.damage = case.damage(quantized)
        self.alone: dict[Side, float] = {side: self._only(side) for side in _SIDES}
        self.culprits: list[Culprit] = []
        self._ordered: list[QuantizerUse] = []

    @property
    def is_bad(self) -> bool:
        """Whether the damage of the quantized network exceeds the tolerance."""
        return not self.damage <= self._tolerance

    @property
    def checks(self) -> list[Check]:
        """The checks of the two sides, followed by that of the quantized network."""
        named = {f"{side} alone, rounded to nearest": x for side, x in self.alone.items()}
        named["the quantized network"] = self.damage
        is_noise = self._case.metric is None
        return [Check(name, x, self._tolerance, is_noise) for name, x in named.items()]

    def sweep(self, on_layer: OnLayer | None = None) -> None:
        """Try each quantizer alone, and look for what is unusual about the worst.

        Args:
            on_layer: See `tersor.quant.noise.alone.sweep`.
        """
        case = self._case
        few = case.batches[:_SWEPT]
        damages = sweep(self._nearest, few, self._uses, case.metric, on_layer)
        pairs = sorted(zip(self._uses, damages, strict=True), key=lambda pair: -pair[1])
        self._ordered = [use for use, _ in pairs]
        reasons = symptoms(self._nearest, self._ordered[:_WORST], case.batches)
        reasons = [
            why + self._refused(use) for use, why in zip(self._ordered, reasons, strict=False)
        ]
        reasons += [[]] * (len(pairs) - len(reasons))
        self.culprits = [
            Culprit(use.name, use.side, damage, tuple(why))
            for (use, damage), why in zip(pairs, reasons, strict=True)
        ]

    def finding(self) -> Finding:
        """Describe what is wrong and what helps."""
        sides, worst = self._guilty(), self._worst()
        blamed = [index for index in worst if self._ordered[index].side in sides]
        details = [self._told(self.culprits[i]) for i in blamed if self.culprits[i].why]
        if not details:
            first = self._told(self.culprits[blamed[0]])
            details = [f"no layer stands out; the most damage comes from {first}"]
        suspects = [self._ordered[index] for index in blamed]
        before = self._case.damage(self._nearest)
        fixes = remedies(self._case, suspects, sides, self._tolerance, before)
        return Finding(self._said(sides), tuple(details), tuple(fixes))

    def _said(self, sides: set[Side]) -> str:
        weights, activations = (self._amount(self.alone[side]) for side in _SIDES)
        who = " and ".join(side for side in _SIDES if side in sides)
        return (
            f"The {who} lose too much precision: the outputs are at {self._amount(self.damage)}, "
            f"at {weights} with only the weights rounded, and at {activations} with only the "
            "activations rounded"
        )

    def _told(self, culprit: Culprit) -> str:
        where = "the weights of" if culprit.side == "weights" else "the activation at"
        said = f"{where} {culprit.layer!r}: {self._amount(culprit.damage)} alone"
        return "; ".join([said, *culprit.why])

    def _amount(self, damage: float) -> str:
        return amount(damage, self._case.metric is None)

    def _only(self, side: Side) -> float:
        chosen = [use.quantizer for use in self._uses if use.side == side]
        with only(self._nearest, chosen):
            return self._case.damage(self._nearest)

    def _guilty(self) -> set[Side]:
        least = min(self._tolerance, _MATTERS * max(self.alone.values()))
        return {side for side, damage in self.alone.items() if damage >= least}

    def _worst(self) -> range:
        """The positions of the culprits that do most of the damage."""
        damages = [culprit.damage for culprit in self.culprits]
        before = [0.0, *accumulate(damages)][:-1]
        return range(min(_WORST, sum(x < _MOST * sum(damages) for x in before)))

    def _refused(self, use: QuantizerUse) -> list[str]:
        names = {use.name, use.value.name}
        refused = [r for r in self._nearest.records if isinstance(r, Skipped) and r.layer in names]
        return [f"{record.step} refused: {record.reason}" for record in refused]
