"""What is found of several things: what is true of all is told once, the rest with the thing's name."""

from __future__ import annotations

from megatinybert.runtime.findings import Finding, Findings, lines_of_each, of_each


def findings(*found: Finding) -> Findings:
    own = Findings()
    own.add(*found)
    return own


def test_what_is_true_of_all_is_told_once() -> None:
    common, own = Finding("ok", "batch", "4 rows"), Finding("fail", "layers", "too many")
    told = of_each({"a": findings(common), "b": findings(own, common)})
    assert told == [common, Finding("fail", "layers", "b: too many")]
    assert of_each({"only": findings(own, common)}) == [own, common]
    assert of_each({"a": findings(own), "b": findings()}) == [Finding("fail", "layers", "a: too many")]


def test_lines_likewise() -> None:
    assert lines_of_each({"a": ["steps: 3", "small"], "b": ["steps: 3", "large"]}) == [
        "steps: 3",
        "a: small",
        "b: large",
    ]
    assert lines_of_each({"a": ["x", "x"]}) == ["x"]
