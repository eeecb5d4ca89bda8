#!/bin/sh
''':'
# General distillation. This file is valid shell and valid Python, because DeepSpeed's launcher runs it with Python:
#
#   sh launch/general.sh --config RECIPE.yaml [--section.key VALUE ...]      (bash too; starts the launcher itself)
#   deepspeed [launcher options] launch/general.sh --config RECIPE.yaml ...
#
# Environment of the first form:
#   HOSTFILE        the launcher's --hostfile, for several machines
#   DEEPSPEED_ARGS  any other launcher options, such as "--num_accelerators 2 --master_port 29501"
#
# In shell, line 2 does nothing, and the Python at the end is a here-document that nobody reads. In Python, line 2
# opens a string that holds all of the shell.

. "$(dirname -- "$0")/start.sh"
: <<'#end'
'''
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

if __name__ == "__main__":
    from megatinybert.general import main

    main()
#end
