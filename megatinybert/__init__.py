"""MegaTinyBERT: distilling BERT-style encoders at pretraining scale. Importing it loads no torch."""

import logging

__version__ = "0.1.0"

# Transformers imports torchao where it is installed, which warns of each of its extensions for other devices.
for _name in ("torchao", "torch.utils._pytree"):
    logging.getLogger(_name).setLevel(logging.ERROR)
