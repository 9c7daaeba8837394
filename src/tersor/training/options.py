"""What training does, and for how long."""

from dataclasses import dataclass, field, replace

from tersor.checked import Count, Positive, PositiveOrZero, ProperShare, checked
from tersor.errors import InvalidInputError
from tersor.names import BatchNormMode, Distance, Precision
from tersor.quant.lsq import LSQ
from tersor.training.oscillation import Damping, Freezing

_RATE = 0.01
_NEAR_RATE = 0.001
_PER_ERROR = 0.015  # rate for a relative error of 1, chosen on pruned and factorized ResNet-56


@checked()
@dataclass(frozen=True)
class Training:
    """Options of training.

    The LSQ+ paper names no optimizer and no schedule. The defaults are ours, chosen on four epochs
    of ResNet-20 with 4 bits, with AdamW. A very short training gains by three times these rates.
    What was compressed is near to where it ends, and has defaults of its own: see `near`.

    Attributes:
        epochs: How often the batches are gone through.
        steps: How many batches to take instead, for batches whose number is not known.
        quantizers: How quantizers are trained.
        rate: Highest learning rate of the weights, as a share of their size: see
            `tersor.training.optimizer`. Default: 0.01, or from 0.001 to 0.01 for what was
            compressed: the more the outputs have changed, the higher.
        bias_rate: That of biases, and of the parameters of norms.
        quantizer_rate: That of the logarithms of the steps, and of the offsets in steps.
        weight_decay: Of weights with two axes or more; nothing else decays.
        warm_up: Share of the steps in which learning rates rise; they fall along half a cosine.
        accumulate: How many batches make up one step of the optimizer.
        clip: Largest norm of the gradient of the weights, or None.
        ema: Decay of an average of all parameters, whose values are kept in the end; 0 for none.
        distil: How the outputs are compared with those of the float network: `"kl"` for logits,
            `"mse"` for others; `"auto"` takes a single output `[samples, classes]` for logits, but
            `"mse"` for all that was compressed.
        temperature: Of the distillation of logits.
        batchnorm: `"kept"` puts BatchNorms that `quantize` folded back for the training, where
            weights have a step for each channel: few bits need it. `"folded"` leaves them folded,
            which is faster and does not depend on how a batch is divided among processes. Default:
            kept, but folded for what was compressed.
        damping: Pull weights to the middle of their step, or None; for depthwise layers.
        freezing: Fix weights that oscillate, or None; idem.
        precision: `"bf16"` or `"fp16"` for mixed precision on a GPU.
        seed: Of the order of the batches, and all else that is random.
        checkpoint_every: Steps between two checkpoints, where there is a folder.
        log_every: Steps between two lines of the log.
        tensorboard: Whether to write a TensorBoard log, too.
    """

    epochs: Count = 12
    steps: Count | None = None
    quantizers: LSQ = field(default_factory=LSQ)
    rate: Positive | None = None
    bias_rate: Positive = 1e-4
    quantizer_rate: Positive = 0.01
    weight_decay: PositiveOrZero = 1e-4
    warm_up: ProperShare = 0.05
    accumulate: Count = 1
    clip: Positive | None = None
    ema: ProperShare = 0.0
    distil: Distance = "auto"
    temperature: Positive = 4.0
    batchnorm: BatchNormMode | None = None
    damping: Damping | None = None
    freezing: Freezing | None = None
    precision: Precision | None = None
    seed: int = 0
    checkpoint_every: Count = 500
    log_every: Count = 20
    tensorboard: bool = False

    @property
    def highest_rate(self) -> float:
        """The rate, or its default."""
        return _RATE if self.rate is None else self.rate

    @property
    def keeps_batchnorm(self) -> bool:
        """Do BatchNorms come back for the training?"""
        return self.batchnorm != "folded"

    def check_used(self, labelled: bool, quantized: bool) -> None:
        """Refuse what would do nothing in a training.

        Args:
            labelled: Whether the user gave a loss.
            quantized: Whether quantizers are trained; else the network is a compressed one.

        Raises:
            InvalidInputError: Names the option, and why it would do nothing.
        """
        if labelled and self.distil != "auto":
            raise InvalidInputError(
                f"Training: distil={self.distil!r} compares outputs with those of the float "
                "network, which a loss of your own takes the place of; leave out one"
            )
        if quantized:
            return
        usual = Training()
        for name in ("quantizers", "quantizer_rate", "damping", "freezing"):
            if getattr(self, name) != getattr(usual, name):
                raise InvalidInputError(
                    f"Training: {name}={getattr(self, name)} is for quantizers, and a compressed "
                    "network has none; leave it out"
                )

    def near(self, lost: float) -> "Training":
        """The same for a network that is near to where it ends, as `compress` leaves it.

        Its layers are fitted to the float network, so that they have less variance than that: a
        BatchNorm with the statistics of the float network would blow up what they get wrong. Small
        steps, and the squared distance of logits, do not undo the fit either. How small they are
        goes by the way that is left, √(‖y − ŷ‖² / ‖y‖²).

        Args:
            lost: ‖y − ŷ‖² / ‖y‖², of the outputs.
        """
        rate = min(max(_PER_ERROR * lost**0.5, _NEAR_RATE), _RATE) if lost < 1 else _RATE
        return replace(
            self,
            rate=float(f"{rate:.2g}") if self.rate is None else self.rate,
            batchnorm=self.batchnorm or "folded",
            distil="mse" if self.distil == "auto" else self.distil,
        )
