"""What is found of several things: what is true of all is told once, the rest with the thing's name."""

from __future__ import annotations

from pathlib import Path

from megatinybert.runtime.findings import Finding, Findings, lines_of_each, of_each, once_of_files


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


def test_what_is_the_same_of_several_files_is_told_once_with_their_names() -> None:
    files = [Path("d/a"), Path("d/b"), Path("d/c")]
    told = ["d/a: no rows", "d/b:3: empty", "d/c: no rows", "d/b: no rows", "d/a:12: empty", "d/a: odd", "lost", "lost"]
    assert once_of_files(told, files) == [
        "d/a (likewise d/c and d/b): no rows",
        "d/b:3 (likewise d/a:12): empty",
        "d/a: odd",
        "lost",
    ]
    assert once_of_files(["d/ab: x", "d/a: x"], files) == ["d/ab: x", "d/a: x"]
    merged = once_of_files(["d/a: x", "d/b: x"], files)
    assert once_of_files(merged * 2, files) == merged
