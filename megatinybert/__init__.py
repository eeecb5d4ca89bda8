"""MegaTinyBERT: distilling BERT-style encoders at pretraining scale. Importing it loads no torch."""

__version__ = "0.1.0"
