"""General distillation: the program behind launch/general.sh."""

from __future__ import annotations

import os
import sys

from megatinybert.config import ConfigError, load_config
from megatinybert.findings import refusal
from megatinybert.versions import check_versions


def main() -> None:
    """Exit code 2 for a user's mistake, 1 for a run that had to stop."""
    try:
        config = load_config(sys.argv[1:])  # answers --help and --print-config, so nothing heavy is imported before
    except ConfigError as error:
        if os.environ.get("RANK", "0") == "0":
            print(f"error: {error}", file=sys.stderr)
        sys.exit(2)

    unusable = [finding.text for finding in check_versions() if finding.level == "fail"]
    if unusable:
        print(f"error: {refusal(unusable)}", file=sys.stderr)
        sys.exit(2)

    from megatinybert import dist

    try:
        world = dist.start()  # chooses the accelerator, so it comes before whatever imports DeepSpeed
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)

    from megatinybert.distil import distil
    from megatinybert.fit import NonFiniteLoss
    from megatinybert.prepare import silence_transformers

    silence_transformers()
    try:
        distil(config, world)
    except (ValueError, OSError, NonFiniteLoss) as error:
        if world.is_main:
            print(f"error: {error}", file=sys.stderr)
        code = 1 if isinstance(error, NonFiniteLoss) else 2
        if world.size > 1:
            # Ranks end one after the other, and gloo may abort in a process group that a peer has left, which would
            # take the exit code's place.
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
        sys.exit(code)
    finally:
        dist.stop()


if __name__ == "__main__":
    main()
