"""Types of the values that options take."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema


def _no_truth_value(value: object) -> object:
    # YAML reads yes, no, on and off as booleans, which Python takes for numbers; as text they are refused.
    return str(value) if isinstance(value, bool) else value


def _fits_64_bits(value: int) -> int:
    if not -(2**63) <= value < 2**63:
        raise ValueError(f"must be below 2^63, {2**63:,}")
    return value


def _at_most_one(value: float) -> float:
    if value > 1:
        digits, exponent = f"{value:e}".split("e")
        meant = f": did you mean {float(digits):g}e-{int(exponent)}?" if int(exponent) > 0 else ""
        raise ValueError(f"learning rates are at most 1{meant}")
    return value


def list_of_one(value: object) -> object:
    return [value] if isinstance(value, str) or type(value) in (int, float) else value


Text = Annotated[str, Field(min_length=1)]
Names = Annotated[list[Text], Field(min_length=1), BeforeValidator(list_of_one)]
Whole = Annotated[int, BeforeValidator(_no_truth_value), AfterValidator(_fits_64_bits)]
# The limits come first, for the JSON schema to have them.
Count = Annotated[int, Field(ge=1), BeforeValidator(_no_truth_value), AfterValidator(_fits_64_bits)]
Index = Annotated[int, Field(ge=0), BeforeValidator(_no_truth_value), AfterValidator(_fits_64_bits)]
Positive = Annotated[float, Field(gt=0), BeforeValidator(_no_truth_value)]
# With a message of its own, where the minus of 2e-5 is forgotten.
LearningRate = Annotated[
    Positive,
    AfterValidator(_at_most_one),
    WithJsonSchema({"type": "number", "exclusiveMinimum": 0, "maximum": 1}),
]
NonNegative = Annotated[float, Field(ge=0), BeforeValidator(_no_truth_value)]
Fraction = Annotated[float, Field(ge=0, le=1), BeforeValidator(_no_truth_value)]
FractionAboveZero = Annotated[float, Field(gt=0, le=1), BeforeValidator(_no_truth_value)]
FractionBelowOne = Annotated[float, Field(ge=0, lt=1), BeforeValidator(_no_truth_value)]
