"""The measurements of `verify`, as attributes, as plain data and as a table."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from tersor.data.outputs.verdict import Remedy, Reservation, Verdict, judge
from tersor.export.kernels import Kernel
from tersor.export.proof.arithmetic import Arithmetic
from tersor.export.proof.html import table
from tersor.export.proof.tally import Comparison
from tersor.export.sessions.latency import AS_FAST, Latency

_ALIKE = 4  # layers listed per reason for staying in float; beyond this they are counted

_HALF = 3.0  # dB: below it, the first of two steps makes more than half of the noise
_APART = 3.0  # dB: kernels that differ by less need no explanation
_AS_CLOSE = 1.0  # dB: two distances to float that are the same


@dataclass(frozen=True, repr=False)
class Verification:
    """The measurements.

    Attributes:
        samples: Number of samples.
        exported: Output name → the file without integer kernels, against the simulation. Empty
            without a simulation.
        runtime: Output name → the file as users run it, against the simulation (without one,
            against the file without integer kernels).
        quantized: Output name → the file as users run it, against the float model.
        accuracy: Share of correctly classified samples, by `float`, `simulation`, `exact` and
            `runtime`; empty without labels.
        bytes: Size of the file, including external weights.
        float_bytes: Size of the float file.
        latency: The times of the two files, measured in turns, or None.
        kernels: How the runtime computes every convolution and linear layer.
        runtime_name: The runtime in which users run the file.
        drawbacks: Where the file is worse than the float file, and why: one sentence each.
        on_samples: Whether the inputs were given, rather than noise or the example.
        inputs: What the inputs were, if they were not given.
        doubts: What makes the figures doubtful, such as samples that do not fit the network.
        remedy: What to do next if the outputs are not good.
        metric: The value of the user's own metric, the file against the float model; None without.
        max_metric: The largest value of it that is good, or None if the user named none.
        simulated: Output name → the simulation, against the float model. Empty without one.
        compressed: Output name → the network that was compressed first and not yet quantized,
            against the float model. Empty without one.
        changes: What was changed in the file since Tersor wrote it; see
            `tersor.export.evidence.seal`.
        closely: Number of samples, the first ones, that ran in the simulation, too, and in the file
            without integer kernels.
        first: As `quantized`, but on these samples only.
        uncompared: Names of the outputs that are no numbers, such as text.
        arithmetic: The file as users run it, against the exact simulation; None without.
    """

    samples: int
    exported: dict[str, Comparison]
    runtime: dict[str, Comparison]
    quantized: dict[str, Comparison]
    accuracy: dict[str, float]
    bytes: int
    float_bytes: int
    latency: Latency | None
    kernels: tuple[Kernel, ...]
    runtime_name: str = "onnxruntime"
    drawbacks: tuple[str, ...] = ()
    on_samples: bool = True
    inputs: str = ""
    doubts: tuple[str, ...] = ()
    remedy: Remedy = "diagnose"
    metric: float | None = None
    max_metric: float | None = None
    simulated: dict[str, Comparison] = field(default_factory=dict)
    compressed: dict[str, Comparison] = field(default_factory=dict)
    changes: tuple[str, ...] = ()
    closely: int = 0
    first: dict[str, Comparison] = field(default_factory=dict)
    uncompared: tuple[str, ...] = ()
    arithmetic: Arithmetic | None = None

    @property
    def verdict(self) -> Verdict:
        """Whether the file can be used: good, look or bad, with the figure behind it."""
        accuracy = self.accuracy
        metric, most = self.metric, self.max_metric
        return judge(
            [figure for comparison in self.quantized.values() for figure in comparison.parts],
            accuracy=(accuracy["float"], accuracy["runtime"]) if accuracy else None,
            metric=None if metric is None or most is None else (metric, most),
            reservations=tuple(self._reservations()),
            remedy=self.remedy,
        )

    def _reservations(self) -> Iterator[Reservation]:
        """What keeps the file from being good even if its outputs are."""
        if self.changes:
            yield Reservation("the file was changed after it was written", "none")
        if self.kernels and not self.integer_share:
            yield Reservation("no layer runs on integers", "float")
        if self.bytes > self.float_bytes:
            times = f"{self.size_ratio:.2f} times the size"
            yield Reservation(f"the file is larger than the float file, {times}", "float")
        if self.latency is not None and self.latency.ratio > AS_FAST:
            times = f"{1 / self.latency.ratio:.2f} times as fast"
            yield Reservation(f"the file is slower than the float file, {times}", "float")
        yield from (Reservation(doubt, "test") for doubt in self.doubts)
        if not self.on_samples:
            yield Reservation("not compared on real samples, and noise says little", "test")

    @property
    def integer_share(self) -> float:
        """Share of the convolution and linear layers that run on integers; 1 if there are none."""
        integer = sum(kernel.is_integer for kernel in self.kernels)
        return integer / len(self.kernels) if self.kernels else 1.0

    @property
    def in_float(self) -> list[tuple[str, str]]:
        """The name of each layer that stays in float, and why."""
        return [(k.layer, k.reason) for k in self.kernels if not k.is_integer]

    @property
    def size_ratio(self) -> float:
        """Size of the file over that of the float file."""
        return self.bytes / self.float_bytes

    @property
    def sqnr(self) -> float:
        """SQNR of the runtime against the simulation in dB, for the worst output.

        Without a simulation: against the file without integer kernels.
        """
        return _worst(self.runtime)

    @property
    def costs_most(self) -> Literal["compression", "quantization"]:
        """The step that costs most, where a network was compressed and then quantized."""
        lost = _worst(self.compressed) - _worst(self.first or self.quantized)
        return "compression" if lost < _HALF else "quantization"  # NaN if nothing was compressed

    @property
    def agreement(self) -> float | None:
        """Top-1 agreement of runtime and simulation, for the worst output with classes."""
        shares = [c.top1 for c in self.runtime.values() if c.top1 is not None]
        return min(shares) if shares else None

    def as_dict(self, *names: str) -> dict[str, object]:
        """Convert to plain data, ready for JSON; SQNR is limited to ±200 dB.

        Args:
            names: The float model, the file, and samples, as a command names them.
        """
        compared = ("exported", "runtime", "compressed", "simulated", "quantized")
        return {
            "samples": self.samples,
            "closely": self.closely,
            "runtime_name": self.runtime_name,
            "verdict": self.verdict.as_dict(*names),
            "on_samples": self.on_samples,
            "inputs": self.inputs,
            "doubts": list(self.doubts),
            "changes": list(self.changes),
            "uncompared": list(self.uncompared),
            "has_simulation": bool(self.simulated),
            "exact": self.arithmetic and self.arithmetic.as_dict(),
            "metric": self.metric,
            **{
                key: {name: c.as_dict() for name, c in getattr(self, key).items()}
                for key in compared
            },
            "accuracy": dict(self.accuracy),
            "bytes": self.bytes,
            "float_bytes": self.float_bytes,
            "size_ratio": self.size_ratio,
            "latency": None if self.latency is None else self.latency.as_dict(),
            "integer_share": self.integer_share,
            "layers": len(self.kernels),
            "integer_layers": len(self.kernels) - len(self.in_float),
            "kernels": list(self._kernels()),
            "drawbacks": list(self.drawbacks),
            "in_float": [{"layer": name, "reason": reason} for name, reason in self.in_float],
        }

    def rows(self) -> list[tuple[str, str]]:
        """The rows of a table: each a name and a value."""
        samples = f"{self.samples}, {self.inputs}" if self.inputs else str(self.samples)
        rows = [("runtime", self.runtime_name), ("samples", samples)]
        if self.closely < self.samples:
            beside = "file without integer kernels" + (", simulation" if self.simulated else "")
            rows.append((beside, f"on the first {self.closely} samples"))
        rows += [("doubtful", sentence) for sentence in self.doubts]
        rows += [("changed", sentence) for sentence in self.changes]
        rows += [("not compared", f"{name}: it is no number") for name in self.uncompared]
        beside = "simulation" if self.simulated else "file without integer kernels"
        for title, outputs in (
            ("file against simulation", self.exported),
            (f"runtime against {beside}", self.runtime),
            ("compressed against float", self.compressed),
            ("simulation against float", self.simulated),
            ("runtime against float", self.quantized),
        ):
            for name, comparison in outputs.items():
                label = title if len(outputs) == 1 else f"{title}, {name}"
                rows.append((label, str(comparison)))
        rows += [] if self.arithmetic is None else self.arithmetic.rows()
        rows += [("kernels", sentence) for sentence in self._kernels()]
        rows += [(f"accuracy, {name}", f"{value:.2%}") for name, value in self.accuracy.items()]
        rows += [] if self.metric is None else [("metric", f"{self.metric:.4g}")]
        rows.append(("size", f"{self._sizes()} ({self.size_ratio:.2f}×)"))
        if self.latency is not None:
            rows.append(("latency, batch 1", str(self.latency)))
        rows += [("worse than float", sentence) for sentence in self.drawbacks]
        if not self.kernels:
            return rows
        integer = len(self.kernels) - len(self.in_float)
        rows.append(("integer kernels", f"{integer} of {len(self.kernels)} layers"))
        return rows + self._float_rows()

    def _kernels(self) -> Iterator[str]:
        """Why the fast kernels are further from the simulation than the file without them."""
        if not self.exported or _worst(self.runtime) >= _worst(self.exported) - _APART:
            return
        names = {kernel.kernel for kernel in self.kernels if kernel.is_integer}
        which = f"the kernels ({', '.join(sorted(names))})" if names else "the kernels"
        if _worst(self.first or self.quantized) >= _worst(self.simulated) - _AS_CLOSE:
            yield (
                f"{which} round sums in the middle of two integers to the other one, which costs "
                "nothing: the runtime is as close to float as the simulation"
            )
        else:
            yield (
                f"{which} are less exact than the simulation on this machine; run `tersor doctor`, "
                "and choose a scheme that is exact here"
            )

    def _float_rows(self) -> list[tuple[str, str]]:
        """Rows for the layers that stay in float: many with the same reason share a row."""
        alike: dict[str, list[str]] = {}
        for name, reason in self.in_float:
            alike.setdefault(reason, []).append(name)
        rows: list[tuple[str, str]] = []
        for reason, names in alike.items():
            if len(names) > _ALIKE:
                some = ", ".join(names[:_ALIKE])
                rows.append((f"in float: {len(names)} layers", f"{reason}: {some}, …"))
            else:
                rows += [(f"in float: {name}", reason) for name in names]
        return rows

    def _sizes(self) -> str:
        unit, name = (1e6, "MB") if self.float_bytes >= 1e6 else (1e3, "kB")
        return f"{self.float_bytes / unit:.2f} → {self.bytes / unit:.2f} {name}"

    def __repr__(self) -> str:
        return f"Verification({self.samples} samples in {self.runtime_name})\n{self}"

    def _repr_html_(self) -> str:
        """The table as a notebook shows it."""
        return table([*self.rows(), ("verdict", str(self.verdict))])

    def __str__(self) -> str:
        """The table as plain text, with the verdict at its end."""
        rows = [*self.rows(), ("verdict", str(self.verdict))]
        width = max(len(what) for what, _ in rows)
        return "\n".join(f"{what:{width}}  {value}" for what, value in rows)


def _worst(outputs: dict[str, Comparison]) -> float:
    return min((comparison.sqnr for comparison in outputs.values()), default=math.nan)
