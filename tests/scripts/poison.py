"""General distillation with a batch that is bad on one rank alone: its hidden states of the teacher are not numbers.

DS_ACCELERATOR=cpu PYTHONPATH=. python tests/scripts/poison.py STEP RANK OPTIONS...
"""

from __future__ import annotations

import os
import sys

from megatinybert.general import main
from megatinybert.training import loop
from tests.training.test_finite import poisoned_at

if __name__ == "__main__":
    step, rank = sys.argv[1:3]
    del sys.argv[1:3]
    if os.environ["RANK"] == rank:
        loop.train_step = poisoned_at(int(step))
    main()
