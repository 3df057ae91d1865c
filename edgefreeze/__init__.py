"""edgefreeze: freeze a trained TensorFlow model for a board, prove it, ship it, measure it there."""

__version__ = "0.1.0.dev0"
