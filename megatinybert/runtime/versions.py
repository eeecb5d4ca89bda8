"""Whether the installed packages are supported, without importing them."""

from __future__ import annotations

import importlib.metadata
import sys
from typing import NamedTuple

from packaging.specifiers import SpecifierSet
from packaging.version import Version

from megatinybert.runtime.findings import Finding


class Range(NamedTuple):
    """tested: the pin of requirements.txt. needed: the range of pyproject.toml."""

    tested: str
    needed: str


PACKAGES = {
    "torch": Range("2.13.0", ">=2.11"),
    "deepspeed": Range("0.19.8", ">=0.19.8,<0.20"),
    "transformers": Range("5.23.0", ">=5.17,<6"),
}
PYTHONS = ("3.11", "3.13")  # the lowest and the highest that is tested


def check_versions() -> list[Finding]:
    """One finding where all is well; else one for each package that is missing, not tested or not usable."""
    found = {"Python": ".".join(map(str, sys.version_info[:3]))}
    findings = []
    if not Version(PYTHONS[0]).release <= sys.version_info[:2] <= Version(PYTHONS[1]).release:
        text = (
            f"Python {found['Python']}: tested with {PYTHONS[0]} to {PYTHONS[1]}; take one of these if anything fails"
        )
        findings.append(Finding("warn", "versions", text))
    for name, wanted in PACKAGES.items():
        install = f"pip install '{name}=={wanted.tested}'"
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            findings.append(Finding("fail", "versions", f"{name} is not installed: {install}"))
            continue
        version = Version(Version(found[name]).base_version)  # a build of one's own or a vendor's counts as its release
        if version not in SpecifierSet(wanted.needed):
            text = f"{name} {found[name]} cannot be used, {name}{wanted.needed} is needed: {install}"
            findings.append(Finding("fail", "versions", text))
        elif version.release[:2] != Version(wanted.tested).release[:2]:
            text = f"{name} {found[name]}: tested with {wanted.tested}; if anything fails, {install}"
            findings.append(Finding("warn", "versions", text))
    if findings:
        return findings
    return [Finding("ok", "versions", ", ".join(f"{name} {version}" for name, version in found.items()))]
