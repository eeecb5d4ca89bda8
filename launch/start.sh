# Read by general.sh and task.sh: chooses Python and accelerator, and runs the file that reads it ($0) by them. That then
# starts the launcher, megatinybert/programs/launcher.py.
# Environment: HOSTFILE, DEEPSPEED_ARGS; see there.

here=$(dirname -- "$0")
if ! command -v deepspeed >/dev/null 2>&1; then
    if [ ! -x "$here/../.venv/bin/deepspeed" ]; then
        echo "error${RANK:+ on rank $RANK ($(hostname))}: deepspeed is not on PATH, nor in the repository's .venv; run: make setup" >&2
        exit 2
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

if [ -z "${LOCAL_RANK-}${RANK-}" ]; then # else one rank, started by `deepspeed --no_python` or in a pod of its own
    export MEGATINYBERT_LAUNCH=1 # Python reads the options first, and then starts the launcher
fi
exec "$python" "$0" "$@"
