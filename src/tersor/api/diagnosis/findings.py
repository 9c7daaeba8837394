"""The diagnosis of a quantized network, as tables and in words."""

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
_EQUAL = 1e-20  # noise over signal at 200 dB, the largest SQNR in JSON


@dataclass(frozen=True)
class Check:
    """One comparison with the float network.

    Attributes:
        name: What is compared.
        damage: Noise over signal of the outputs, or the value of the user's metric.
        limit: The largest acceptable damage.
        is_noise: Whether the damage is noise over signal.
    """

    name: str
    damage: float
    limit: float
    is_noise: bool = True

    @property
    def is_fine(self) -> bool:
        """Whether the damage is within the limit; NaN is not."""
        return self.damage <= self.limit

    def __str__(self) -> str:
        return amount(self.damage, self.is_noise)


@dataclass(frozen=True)
class Culprit:
    """One quantizer, switched on while all others are off.

    Attributes:
        layer: The layer whose weights it rounds, or that reads the activation.
        side: `"weights"` or `"activations"`.
        damage: Damage to the outputs from this quantizer alone.
        why: What is unusual about it. Empty for most quantizers.
    """

    layer: str
    side: str
    damage: float
    why: tuple[str, ...] = ()


@dataclass(frozen=True)
class Fix:
    """A remedy.

    Attributes:
        argument: The argument to pass to `tersor.quantize`.
        option: The option to add to the command. Empty if the command has no such option.
        damage: The damage with this remedy and weights rounded to nearest. None if it was not
            tried.
        is_enough: Whether the damage is acceptable with it. True if it was not tried.
    """

    argument: str
    option: str
    damage: float | None = None
    is_enough: bool = True


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        what: What is wrong, in one sentence.
        details: Sentences about the worst places.
        fixes: The remedies, the best first.
    """

    what: str
    details: tuple[str, ...] = ()
    fixes: tuple[Fix, ...] = ()


@dataclass(frozen=True)
class Diagnosis:
    """What is wrong with a quantized network, if anything. Print it for a report.

    Attributes:
        checks: The comparisons, in the order of the white paper.
        culprits: Every quantizer alone, the worst first. Empty if there was no need to look.
        findings: What is wrong. Empty if nothing is wrong.
        notes: Further remarks.
        is_noise: Whether damage is noise over signal rather than the value of the user's metric.
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
        """What is wrong, why, and what to do, in sentences."""
        return "\n".join([*self._sentences(), *self.notes])

    def command(self, *given: str) -> str | None:
        """The `tersor quantize` command with the best remedy, or None if no remedy has an option.

        Args:
            given: The arguments of the command without the remedy.
        """
        fixes = [fix for finding in self.findings for fix in finding.fixes if fix.is_enough]
        options = [fix.option for fix in fixes if fix.option]
        return f"tersor quantize {shlex.join(given)} {options[0]}" if options else None

    def _sentences(self) -> Iterable[str]:
        if self.healthy:
            yield f"Nothing is wrong: {self.checks[-1].name}, {self.checks[-1]}."
            repaired = " and ".join(check.name for check in self.checks if not check.is_fine)
            if repaired:
                yield f"The steps of `quantize` make up for what is bad in the table: {repaired}."
        for finding in self.findings:
            yield f"{finding.what}."
            yield from (f"  - {line}." for line in finding.details)
            yield from self._fixes("Do one of the following:", finding, is_enough=True)
            yield from self._fixes("Tried, and not enough:", finding, is_enough=False)

    def _fixes(self, title: str, finding: Finding, is_enough: bool) -> Iterable[str]:
        found = [fix for fix in finding.fixes if fix.is_enough is is_enough]
        if found:
            yield f"  {title}"
        yield from (f"  - {self._fix(fix)}" for fix in found)

    def _fix(self, fix: Fix) -> str:
        both = " or ".join(filter(None, (fix.argument, fix.option)))
        if fix.damage is None:
            return both
        return f"{both}: {amount(fix.damage, self.is_noise)} with weights rounded to nearest"

    def as_dict(self) -> dict[str, object]:
        """The diagnosis as plain data for JSON, with None for an infinite or unknown damage."""
        found = {"healthy": self.healthy, "words": self.words, **asdict(self)}
        fixes = (fix for finding in found["findings"] for fix in finding["fixes"])
        for part in (*found["checks"], *found["culprits"], *fixes):
            damage = part["damage"]
            known = None if damage is None or not isfinite(damage) else float(damage)
            noise = known if self.is_noise else None
            part["damage"] = known
            part["sqnr_db"] = None if noise is None else decibels(1.0, max(noise, _EQUAL))
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
    """Format a damage: noise over signal in dB, the value of a user's metric as it is.

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
