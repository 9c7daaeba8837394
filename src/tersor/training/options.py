"""The options of training."""

from dataclasses import dataclass, field, replace

from tersor.checked import Count, Positive, PositiveOrZero, ProperShare, checked
from tersor.errors import InvalidInputError
from tersor.names import BatchNormMode, Distance, Precision
from tersor.quant.lsq import LSQ
from tersor.training.damping import Damping, Freezing

_RATE = 0.01
_NEAR_RATE = 0.001
_PER_ERROR = 0.015  # rate for a relative error of 1, chosen on pruned and factorized ResNet-56


@checked()
@dataclass(frozen=True)
class Training:
    """Options of training.

    The LSQ+ paper gives neither an optimizer nor a schedule. The defaults are ours, chosen on four
    epochs of ResNet-20 with 4 bits, with AdamW. Very short trainings work better with three times
    these rates. A compressed network starts close to its goal, and has defaults of its own: see
    `near`.

    Attributes:
        epochs: Number of passes through the batches.
        steps: Number of batches, instead of epochs; for batches whose number is not known.
        quantizers: How quantizers are trained.
        rate: Highest learning rate of the weights, relative to their size: see
            `tersor.training.optimizer`. Default: 0.01, or for a compressed network from 0.001 to
            0.01, which grows with the change of the outputs.
        bias_rate: Highest learning rate of biases, and of the parameters of norms.
        quantizer_rate: Highest rate of the logarithms of steps, and of offsets in steps.
        weight_decay: Decay of weights with two axes or more; nothing else decays.
        warm_up: Share of the steps in which learning rates rise; they fall along half a cosine.
        accumulate: Number of batches in one step of the optimizer.
        clip: Largest norm of the gradient of the weights, or None.
        ema: Decay of a moving average of all parameters, which replaces them at the end; 0: none.
        distil: How the outputs are compared with those of the float network: `"kl"` for logits,
            `"mse"` for others; `"auto"` treats a single output `[samples, classes]` as logits, but
            uses `"mse"` for compressed networks.
        temperature: Temperature of the distillation of logits.
        batchnorm: `"kept"` restores BatchNorms that `quantize` folded during training, for weights
            with one step per channel: few bits need it. `"folded"` leaves them folded, which is
            faster and does not depend on how a batch is divided among processes. Default: kept, but
            folded for compressed networks.
        damping: Pull weights to the middle of their step, or None; for depthwise layers.
        freezing: Freeze weights that oscillate, or None; for depthwise layers.
        precision: `"bf16"` or `"fp16"` for mixed precision on a GPU.
        seed: Seed of the order of the batches, and of everything else that is random.
        checkpoint_every: Steps between two checkpoints, if there is a folder.
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
        """Whether BatchNorms are restored for training."""
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
        """The same options for a network close to its goal, as `compress` leaves it.

        Its layers are fitted to the float network, so they have less variance than that. A
        BatchNorm with the statistics of the float network would amplify their errors. Small steps,
        and the squared distance of logits, do not undo the fit. Their size depends on the distance
        that is left, √(‖y − ŷ‖² / ‖y‖²).

        Args:
            lost: ‖y − ŷ‖² / ‖y‖² of the outputs.
        """
        rate = min(max(_PER_ERROR * lost**0.5, _NEAR_RATE), _RATE) if lost < 1 else _RATE
        return replace(
            self,
            rate=float(f"{rate:.2g}") if self.rate is None else self.rate,
            batchnorm=self.batchnorm or "folded",
            distil="mse" if self.distil == "auto" else self.distil,
        )
