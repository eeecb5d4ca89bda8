"""Objectives by the name that --objective.name takes. A new one is a file here and a line below."""

from megatinybert.objectives.base import Objective
from megatinybert.objectives.tinybert import TinyBert

OBJECTIVES: dict[str, type[Objective]] = {"tinybert": TinyBert}
