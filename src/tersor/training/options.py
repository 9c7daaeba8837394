"""The options of training."""

from dataclasses import dataclass, field, replace

from tersor.checked import Count, Positive, PositiveOrZero, ProperShare, checked
from tersor.errors import InvalidInputError
from tersor.names import BatchNormMode, Distance, Precision
from tersor.quant.lsq import LSQ
from tersor.training.damping import Damping, Freezing

_RATE = 0.01
_NEAR_RATE = 0.001
_PER_ERROR = 0.015  # rate at a relative error of 1, chosen on pruned and factorized ResNet-56


@checked()
@dataclass(frozen=True)
class Training:
    """Options of training.

    The LSQ+ paper specifies neither an optimizer nor a schedule. The defaults are ours: they were
    chosen for AdamW on four epochs of ResNet-20 with 4 bits. Very short trainings work better with
    three times these rates. A compressed network starts close to its target, so it has its own
    defaults: see `near`.

    Attributes:
        epochs: Number of passes through the batches.
        steps: Number of batches, instead of epochs, if the number of batches per epoch is unknown.
        quantizers: How quantizers are trained.
        rate: Peak learning rate of the weights, relative to their size: see
            `tersor.training.optimizer`. Default: 0.01. For a compressed network it is between 0.001
            and 0.01, and grows with the change of the outputs.
        bias_rate: Peak learning rate of biases, and of the parameters of norms.
        quantizer_rate: Peak learning rate of the logarithms of steps, and of offsets in units of
            the step.
        weight_decay: Decay of weights with two or more axes. No other parameter decays.
        warm_up: Share of the steps in which learning rates rise. Afterwards they fall along half a
            cosine.
        accumulate: Number of batches per optimizer step, whose gradients are accumulated.
        clip: Largest norm of the gradient of the weights, or None for no clipping.
        ema: Decay of an exponential moving average of all parameters, which replaces them at the
            end. 0 turns it off.
        distil: How the outputs are compared with those of the float network: `"kl"` for logits,
            also of each position of a map, `"mse"` for other outputs. `"auto"` treats a single
            output `[samples, classes]` as logits, but uses `"mse"` for compressed networks.
        temperature: Temperature of the distillation of logits, `"kl"`.
        mixup: α of arXiv 1710.09412: every sample is mixed with another one of its batch, by a
            weight from Beta(α, α), and the float network answers for the mixture. So the two are
            compared between the samples, too, where few samples would be learned by heart (arXiv
            2106.05237). For inputs of floating-point numbers. 0 turns it off.
        batchnorm: `"kept"` restores, during training, the BatchNorms that `quantize` folded into
            weights with one step per channel; low widths need it. `"folded"` leaves them folded,
            which is faster and does not depend on how a batch is divided among processes. Default:
            `"kept"`, but `"folded"` for compressed networks.
        damping: Options for pulling weights to the middle of their step, or None. Meant for
            depthwise layers.
        freezing: Options for freezing weights that oscillate, or None. Meant for depthwise layers.
        precision: `"bf16"` or `"fp16"` for mixed precision on a GPU, or `"bf16"` on a CPU that has
            instructions for it, or None.
        seed: Seed of the order of the batches and of all other random choices.
        checkpoint_every: Number of steps between two checkpoints, if there is a folder.
        log_every: Number of steps between two lines of the log.
        tensorboard: Whether to write a TensorBoard log as well.
        name: A name of the run, which its folder keeps, and which must change with what nothing
            else tells: batches that no seed repeats, a loss whose code Python cannot see.
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
    mixup: PositiveOrZero = 0.0
    batchnorm: BatchNormMode | None = None
    damping: Damping | None = None
    freezing: Freezing | None = None
    precision: Precision | None = None
    seed: int = 0
    checkpoint_every: Count = 500
    log_every: Count = 20
    tensorboard: bool = False
    name: str = ""

    @property
    def highest_rate(self) -> float:
        """The peak learning rate of the weights, or its default."""
        return _RATE if self.rate is None else self.rate

    @property
    def keeps_batchnorm(self) -> bool:
        """Whether BatchNorms are restored during training."""
        return self.batchnorm != "folded"

    def check_used(self, labelled: bool, quantized: bool, gated: bool = False) -> None:
        """Refuse options that would have no effect in this training.

        Args:
            labelled: Whether the user gave a loss.
            quantized: Whether the network is quantized; otherwise it is compressed.
            gated: Whether gates are trained in it first, which compares logits as usual.

        Raises:
            InvalidInputError: An option would have no effect. The message names it and says why.
        """
        if labelled and self.distil != "auto":
            raise InvalidInputError(
                f"Training: distil={self.distil!r} has no effect with loss=, which replaces the "
                "comparison with the float network; give either distil= or loss="
            )
        if labelled and self.mixup:
            raise InvalidInputError(
                f"Training: mixup={self.mixup:g} has no effect with loss=: nobody knows the labels "
                "of a mixture; mix them in the batches and the loss, or leave out loss="
            )
        usual = Training()
        has_logits = self.distil == "kl" or (self.distil == "auto" and (quantized or gated))
        if (labelled or not has_logits) and self.temperature != usual.temperature:
            raise InvalidInputError(
                f"Training: temperature={self.temperature:g} has no effect here: it is for logits "
                "that are compared by distil='kl', and this training has "
                f"{'a loss of its own' if labelled else 'squared errors'}; leave it out"
            )
        if quantized:
            return
        for name in ("quantizers", "quantizer_rate", "damping", "freezing"):
            if getattr(self, name) != getattr(usual, name):
                raise InvalidInputError(
                    f"Training: {name}={getattr(self, name)} has no effect on a compressed "
                    "network, which has no quantizers; leave it out"
                )

    def near(self, lost: float) -> "Training":
        """Adapt the options to a network close to its target, as `compress` returns it.

        The layers of such a network are fitted to the float network, so their outputs have less
        variance. A BatchNorm with the statistics of the float network would amplify their errors. A
        small learning rate and the squared distance of logits do not undo the fit. The learning
        rate depends on the remaining relative error, √(‖y − ŷ‖² / ‖y‖²).

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
