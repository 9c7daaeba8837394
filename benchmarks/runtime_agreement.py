"""Does onnxruntime compute what the simulation computed? Several formats, side by side.

Top-1 agreement and SQNR of runtime against simulation on the same images, and the accuracy of
both. The rows `simulation, float64` compare the simulation with itself in double precision: where
two correct computations round some values to different neighbours, later layers spread it, and no
runtime can agree better than that. Run it on this CPU, and once more as on a CPU without VNNI:

    python -m benchmarks.runtime_agreement
    python -m benchmarks.without_vnni benchmarks.runtime_agreement
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from benchmarks.harness import Subject, Table, arguments, progress, subjects
from benchmarks.zoo import MODELS
from tersor.export.proof.tally import Tally
from tersor.graph.network import Network
from tersor.quant.scheme import Scheme
from tersor.quant.schemes import DFQ_PAPER, ONNXRUNTIME_CPU, ONNXRUNTIME_VNNI

#: Images by default: PyTorch simulates much slower than onnxruntime runs.
LIMITS = {**dict.fromkeys(MODELS, 2000), "efficientnet_lite0": 500}

#: Title → session options. The second is slow and exact on every CPU.
SESSIONS = {"default": {}, "x64quantprecision=1": {"session.x64quantprecision": "1"}}
DOUBLE = "simulation, float64"


@dataclass(frozen=True)
class Format:
    """A scheme, the sessions that its file is run in, and whether to simulate it in float64 too."""

    title: str
    scheme: Scheme
    sessions: tuple[str, ...] = tuple(SESSIONS)
    double: bool = False


FORMATS = (
    Format("default scheme", ONNXRUNTIME_CPU, double=True),
    Format("full 8-bit weights", ONNXRUNTIME_VNNI),
    Format("7-bit weights", ONNXRUNTIME_VNNI.with_bits(7, None), ("default",)),
    Format("full 8-bit, per-tensor", replace(DFQ_PAPER, session=())),
)


def main() -> None:
    """Print the table: one row per network, format and session."""
    args = arguments(__doc__).parse_args()
    titles = ("network", "images", "format", "session", "agreement %", "SQNR dB")
    table = Table(args, *titles, "top-1 simulation", "top-1 runtime")
    for subject in subjects(args, LIMITS):
        for format_ in FORMATS:
            progress(subject.name, format_.title)
            for session, figures in compare(subject, format_).items():
                names = (subject.name, f"{len(subject.images):,}", format_.title, session)
                cells = (f"{value:.2f}" for value in figures.values())
                raw = dict(zip(titles, names, strict=False), **figures)
                table.add(*names, *cells, **raw)


def compare(subject: Subject, format_: Format) -> dict[str, dict[str, float]]:
    """Session → agreement in percent, SQNR in dB, and both accuracies in percent."""
    quantized = subject.quantize(format_.scheme)
    path = quantized.export(subject.folder / "quantized.onnx").path
    images = subject.images.split(subject.batch_size)
    simulated = _simulate(quantized.network, images)
    computed = {}
    for session in format_.sessions:
        runtime = subject.runtime(path, SESSIONS[session])
        computed[session] = [torch.from_numpy(runtime(x)[runtime.outputs[0]]) for x in images]
    if format_.double:
        computed[DOUBLE] = _simulate(_in_double(quantized.network), [x.double() for x in images])
    return {
        session: {
            **_agreement(simulated, logits),
            "simulation": _top1(simulated, subject.labels),
            "runtime": _top1(logits, subject.labels),
        }
        for session, logits in computed.items()
    }


def _simulate(network: Network, images: Iterable[Tensor]) -> list[Tensor]:
    with torch.inference_mode():
        return [network(batch).float() for batch in images]


def _in_double(network: Network) -> Network:
    network = network.copy()
    network.module.double()
    return network


def _agreement(wanted: list[Tensor], given: list[Tensor]) -> dict[str, float]:
    tally = Tally()
    for first, second in zip(wanted, given, strict=True):
        tally.add(first.numpy(), second.numpy())
    comparison = tally.comparison()
    assert comparison.top1 is not None
    return {"agreement": 100 * comparison.top1, "sqnr": comparison.sqnr}


def _top1(logits: list[Tensor], labels: Tensor) -> float:
    return 100 * float((torch.cat(logits).argmax(1) == labels).double().mean())


if __name__ == "__main__":
    main()
