"""The public names; `__init__.py` imports them from here when they are used."""

from .checks import inspect as inspect
from .checks import verify as verify
from .compressed import Compressed as Compressed
from .compression import compress as compress
from .diagnosis.flow import diagnose as diagnose
from .errors import TersorError as TersorError
from .export.machine import doctor as doctor
from .frontend.load import load as load
from .levels import Compression as Compression
from .levels import DataFree as DataFree
from .levels import WithData as WithData
from .mixed import Bits as Bits
from .mixed import search_bits as search_bits
from .pareto import Pareto as Pareto
from .pareto import pareto as pareto
from .quant.lsq import LSQ as LSQ
from .quant.scheme import Scheme as Scheme
from .quantized import Quantized as Quantized
from .recipes import quantize as quantize
from .report.contents import Report as Report
from .report.differences import compare as compare
from .train.options import Training as Training
from .training import Trainable as Trainable
from .training import train as train
from .training import trainable as trainable

__version__: str
