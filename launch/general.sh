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

here=$(dirname -- "$0")
if ! command -v deepspeed >/dev/null 2>&1; then
    if [ ! -x "$here/../.venv/bin/deepspeed" ]; then
        echo "error: deepspeed is not on PATH, nor in the repository's .venv; run: make setup" >&2
        exit 1
    fi
    PATH=$(cd -- "$here/../.venv/bin" && pwd):$PATH
    export PATH
fi
if [ -z "${DS_ACCELERATOR-}" ] && ! nvidia-smi -L >/dev/null 2>&1; then
    export DS_ACCELERATOR=cpu
fi
# The Python that deepspeed itself runs on: another one first on PATH may lack the packages.
python=$(dirname -- "$(command -v deepspeed)")/python
[ -x "$python" ] || python=python3

if [ -n "${LOCAL_RANK-}" ]; then # one rank, started by `deepspeed --no_python`
    exec "$python" "$0" "$@"
fi
for argument; do
    case $argument in --help | -h | --print-config) exec "$python" "$0" "$@" ;; esac
done
# DEEPSPEED_ARGS is split into words on purpose.
exec deepspeed ${HOSTFILE:+--hostfile "$HOSTFILE"} ${DEEPSPEED_ARGS-} "$0" "$@"
: <<'#end'
'''
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

if __name__ == "__main__":
    from megatinybert.general import main

    main()
#end
