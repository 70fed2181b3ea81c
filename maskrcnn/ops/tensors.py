"""The name for a tensor of whichever backend Keras runs on."""

from typing import Any, TypeAlias

Tensor: TypeAlias = Any
"""A TensorFlow tensor, a JAX array or a NumPy array; `Any`, since Keras has no common type for them."""
