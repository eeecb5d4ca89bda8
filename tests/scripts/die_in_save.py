"""General distillation in which rank 1 is killed while it saves a checkpoint.

    DS_ACCELERATOR=cpu PYTHONPATH=. python tests/scripts/die_in_save.py STEP before|after|beside OPTIONS...

It dies at the checkpoint of STEP, before or after its own file is written, or while it is written beside training.
"""

from __future__ import annotations

import os
import pathlib
import signal
import sys
import time

from deepspeed.runtime.engine import DeepSpeedEngine

from megatinybert.general import main
from megatinybert.training.checkpoints.files import CheckpointFiles

save_checkpoint = DeepSpeedEngine.save_checkpoint
write = CheckpointFiles._write


def is_doomed(path: str) -> bool:
    return os.environ["RANK"] == "1" and f"step-{int(step):08d}" in path


def dying_write(files: CheckpointFiles, state_dict: object, path: str) -> None:
    if is_doomed(path) and moment == "beside":
        time.sleep(0.5)  # training goes on, and rank 0 writes its file
        os.kill(os.getpid(), signal.SIGKILL)
    write(files, state_dict, path)


def dying_save(engine: DeepSpeedEngine, folder: str, tag: str, save_latest: bool) -> None:
    doomed = is_doomed(folder) and moment != "beside"
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
    CheckpointFiles._write = dying_write
    main()
