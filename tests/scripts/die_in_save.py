"""General distillation in which rank 1 is killed while it saves a checkpoint.

    DS_ACCELERATOR=cpu PYTHONPATH=. python tests/scripts/die_in_save.py STEP before|after OPTIONS...

It dies at the checkpoint of STEP, before or after its own file is written.
"""

from __future__ import annotations

import os
import pathlib
import signal
import sys

from deepspeed.runtime.engine import DeepSpeedEngine

from megatinybert.general import main

save_checkpoint = DeepSpeedEngine.save_checkpoint


def dying_save(engine: DeepSpeedEngine, folder: str, tag: str, save_latest: bool) -> None:
    doomed = os.environ["RANK"] == "1" and f"step-{int(step):08d}" in folder
    if doomed and moment == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    save_checkpoint(engine, folder, tag=tag, save_latest=save_latest)
    if doomed:
        files = [path.name for path in pathlib.Path(folder, tag).glob("*pp_rank_1*")]
        print(f"rank 1 wrote {files}", file=sys.stderr, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    step, moment = sys.argv[1:3]
    del sys.argv[1:3]
    DeepSpeedEngine.save_checkpoint = dying_save
    main()
