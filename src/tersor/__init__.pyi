"""The public names; `__init__.py` imports them from here when they are used."""

from .api.compress import compress as compress
from .api.diagnose import diagnose as diagnose
from .api.inspect import inspect as inspect
from .api.loading import load as load
from .api.pareto import Pareto as Pareto
from .api.pareto import pareto as pareto
from .api.quantize import quantize as quantize
from .api.search_bits import Bits as Bits
from .api.search_bits import search_bits as search_bits
from .api.train import Trainable as Trainable
from .api.train import train as train
from .api.train import trainable as trainable
from .api.verify import verify as verify
from .compression.options import Compression as Compression
from .errors import TersorError as TersorError
from .export.sessions.machine import doctor as doctor
from .quant.levels import DataFree as DataFree
from .quant.levels import WithData as WithData
from .quant.lsq import LSQ as LSQ
from .quant.scheme import Scheme as Scheme
from .report.contents import Report as Report
from .report.differences import compare as compare
from .results.compressed import Compressed as Compressed
from .results.quantized import Quantized as Quantized
from .training.options import Training as Training

__version__: str
