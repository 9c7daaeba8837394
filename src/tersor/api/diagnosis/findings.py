"""What is wrong with a quantized network, in tables and in words."""

import shlex
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from math import inf, isfinite
from typing import Any

from rich.console import Group
from rich.text import Text

from tersor.core.metrics import decibels
from tersor.report.tables import checks_table, culprits_table, plain

_SHOWN = 12  # quantizers in the table
_EQUAL = 1e-20  # in JSON, SQNR ends at 200 dB


@dataclass(frozen=True)
class Check:
    """One comparison with the float network.

    Attributes:
        name: What is compared.
        damage: Noise over signal of the outputs, or what the user's metric says.
        limit: The most that is fine.
        is_noise: Whether the damage is noise over signal.
    """

    name: str
    damage: float
    limit: float
    is_noise: bool = True

    @property
    def is_fine(self) -> bool:
        """Whether it is within the limit; NaN is not."""
        return self.damage <= self.limit

    def __str__(self) -> str:
        return amount(self.damage, self.is_noise)


@dataclass(frozen=True)
class Culprit:
    """One quantizer, switched on alone.

    Attributes:
        layer: The layer whose weights it rounds, or that reads the activation.
        side: `"weights"` or `"activations"`.
        damage: What it does to the outputs alone.
        why: What is unusual about it; empty for most.
    """

    layer: str
    side: str
    damage: float
    why: tuple[str, ...] = ()


@dataclass(frozen=True)
class Fix:
    """Something to try.

    Attributes:
        argument: What to give `tersor.quantize`.
        option: What to add to the command; empty if the command has no such option.
        damage: What is left with it, if that was tried, with weights rounded to nearest.
    """

    argument: str
    option: str
    damage: float | None = None


@dataclass(frozen=True)
class Finding:
    """Something that is wrong.

    Attributes:
        what: In a few words.
        details: Sentences about the worst places.
        fixes: What to do, the best first.
    """

    what: str
    details: tuple[str, ...] = ()
    fixes: tuple[Fix, ...] = ()


@dataclass(frozen=True)
class Diagnosis:
    """What is wrong with a quantized network, or that nothing is; print it.

    Attributes:
        checks: The comparisons, in the order of the white paper.
        culprits: Every quantizer alone, the worst first; empty if there was no need to look.
        findings: What is wrong; empty if nothing is.
        notes: What is worth knowing.
        is_noise: Whether damage is noise over signal, or what the user's metric says.
    """

    checks: tuple[Check, ...]
    culprits: tuple[Culprit, ...] = ()
    findings: tuple[Finding, ...] = ()
    notes: tuple[str, ...] = ()
    is_noise: bool = True

    @property
    def healthy(self) -> bool:
        """True if nothing is wrong."""
        return not self.findings

    @property
    def words(self) -> str:
        """What is wrong, why, and what to do, as sentences."""
        return "\n".join([*self._sentences(), *self.notes])

    def command(self, *given: str) -> str | None:
        """`tersor quantize` with the best remedy that has an option; None if there is none.

        Args:
            given: The arguments of the command without it.
        """
        options = [fix.option for finding in self.findings for fix in finding.fixes if fix.option]
        return f"tersor quantize {shlex.join(given)} {options[0]}" if options else None

    def _sentences(self) -> Iterable[str]:
        if self.healthy:
            yield f"Nothing is wrong: {self.checks[-1].name}, {self.checks[-1]}."
            repaired = " and ".join(check.name for check in self.checks if not check.is_fine)
            if repaired:
                yield f"What is bad, {repaired}, is made up for by the steps of `quantize`."
        for finding in self.findings:
            yield f"{finding.what}."
            yield from (f"  - {line}." for line in finding.details)
            if finding.fixes:
                yield "  What to do, one of:"
            yield from (f"  - {self._fix(fix)}" for fix in finding.fixes)

    def _fix(self, fix: Fix) -> str:
        both = " or ".join(filter(None, (fix.argument, fix.option)))
        if fix.damage is None:
            return both
        return f"{both}: {amount(fix.damage, self.is_noise)} with weights rounded to nearest"

    def as_dict(self) -> dict[str, object]:
        """Plain data, ready for JSON; an infinite or unknown damage becomes None."""
        found = {"healthy": self.healthy, "words": self.words, **asdict(self)}
        for part in (*found["checks"], *found["culprits"]):
            part["damage"] = part["damage"] if isfinite(part["damage"]) else None
        return found

    def __rich__(self) -> Group:
        checks = [(c.name, str(c), "fine" if c.is_fine else "bad") for c in self.checks]
        parts: list[Any] = [checks_table(checks)] if checks else []
        if self.culprits:
            rows = [
                (c.layer, c.side, amount(c.damage, self.is_noise), "; ".join(c.why))
                for c in self.culprits[:_SHOWN]
            ]
            parts.append(culprits_table(rows, len(self.culprits)))
        return Group(*parts, Text(self.words))

    def __str__(self) -> str:
        """The tables and the words as plain text."""
        return plain(self.__rich__())


def amount(damage: float, is_noise: bool) -> str:
    """A damage for people: noise over signal in dB, anything else as it is.

    Args:
        damage: The damage.
        is_noise: Whether it is noise over signal.
    """
    if damage != damage:
        return "not a number"
    if not is_noise:
        return f"{damage:.3g}"
    return (
        "equal"
        if damage < _EQUAL
        else f"{decibels(1.0, damage):.1f} dB"
        if damage < inf
        else "lost"
    )
