"""The program behind launch/general.sh."""

from __future__ import annotations

from megatinybert.config.load import load_config
from megatinybert.programs.start import run_program


def main() -> None:
    """Exit code 2 for a user's mistake, 1 for a run that had to stop."""
    run_program(load_config, "megatinybert.programs.distil.distil")


if __name__ == "__main__":
    main()
