"""General distillation whose ranks are lost after 10 seconds without a sign of life, in training as elsewhere.

DS_ACCELERATOR=cpu PYTHONPATH=. python tests/scripts/impatient.py OPTIONS...
"""

import os

os.environ["TORCH_CPP_LOG_LEVEL"] = "ERROR"  # as the program sets it before torch is imported

from megatinybert.general import main
from megatinybert.runtime import watch

if __name__ == "__main__":
    watch._SHORT = watch._LONG = round(10 / watch.INTERVAL)
    main()
