"""Measurements of speed and memory.

A script takes what it needs of Transformers as transformers.X, or imports it after a module of this package.
"""

import megatinybert  # noqa: F401 - keeps torchao quiet, which Transformers imports
