"""Real pretrained networks with their data: what the benchmarks measure on.

The weights and data are not part of the repository. The environment variable `TERSOR_ASSETS` names
the folder that holds them, laid out as `data/` and `weights/`.
"""

from benchmarks.zoo.models import MODELS, Model, accuracy

__all__ = ["MODELS", "Model", "accuracy"]
