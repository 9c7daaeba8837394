"""How long a runtime takes for a call, in integers and in floating point: a model of a few numbers.

    t(layer)      = call + mac · MACs + written · outputs + gathered · positions · kernel size
    t(pooling)    = pooled · outputs · kernel size
    t(another op) = its rate · outputs

The numbers are nanoseconds of one thread. They do not predict a latency; they say which of two ways
to compute the same call is faster, and whether the way between the two is worth it.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Kernel:
    """Nanoseconds of one kind of kernel.

    Attributes:
        mac: For each multiply-accumulate of an ordinary convolution or linear layer.
        depthwise: For each multiply-accumulate of a depthwise convolution.
        written: For each number that a layer writes.
        gathered: For each place of a kernel at each position: what an ordinary convolution of more
            than one place has to collect before it multiplies.
        scattered: The same if the input has few channels, so that each place is a few bytes.
        pooled: For each number that a pooling reads, overlaps counted again.
        add: For each number of a sum.
        product: For each number of a product.
        function: For each number of a sigmoid or a leaky ReLU.
        moved: For each number that is only moved.
    """

    mac: float
    depthwise: float
    written: float
    gathered: float
    scattered: float
    pooled: float
    add: float
    product: float
    function: float
    moved: float


@dataclass(frozen=True)
class Speed:
    """Nanoseconds of one runtime, with one thread.

    Attributes:
        integer: What runs on integers.
        floating: What stays in floating point.
        call: For each call, whatever it does.
        quantize: For each number that becomes an integer, and changes its layout.
        dequantize: For each number that becomes a float again, and changes its layout.
        pooled_anew: For each number that a maximum pooling of integers reads if they were floats
            just before: only behind a convolution they lie as its fast kernel wants them.
    """

    integer: Kernel
    floating: Kernel
    call: float
    quantize: float
    dequantize: float
    pooled_anew: float


# Measured by benchmarks.kernel_speed on a CPU with VNNI.
ONNXRUNTIME = Speed(
    integer=Kernel(
        mac=0.0048,
        depthwise=0.060,
        written=0.15,
        gathered=0.7,
        scattered=2.6,
        pooled=0.08,
        add=0.14,
        product=0.20,
        function=0.23,
        moved=0.02,
    ),
    floating=Kernel(
        mac=0.019,
        depthwise=0.032,
        written=0.04,
        gathered=0.0,
        scattered=0.3,
        pooled=0.12,
        add=0.14,
        product=0.14,
        function=0.25,
        moved=0.08,
    ),
    call=500.0,
    quantize=0.3,
    dequantize=0.3,
    pooled_anew=2.0,
)
