"""General distillation: the program behind launch/general.sh."""

from __future__ import annotations

from megatinybert.config import load_config
from megatinybert.program import run_program


def main() -> None:
    """Exit code 2 for a user's mistake, 1 for a run that had to stop."""
    run_program(load_config, "megatinybert.distil.distil")


if __name__ == "__main__":
    main()
