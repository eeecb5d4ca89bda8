#!/bin/sh
# Everything that waits for a GPU, in one command of at most 8 minutes that writes one Markdown file:
#
#   sh benchmarks/gpu.sh [--dry-run] [OUTPUT.md]     (default: runs/gpu.md)
#
# --dry-run tries every part on the CPU with tiny sizes, in a minute or two; do that before a GPU is paid for.
# Each part has a time limit, and the next one runs whatever became of it. The file is written anew after each part, so
# that it is of use if the machine is taken away. Exit code 0 when every part is ok, 1 when not, 2 when none was begun.
#
# Environment:
#   PYTHON  the interpreter (default: .venv/bin/python, else python3)
#   BUDGET  seconds for everything (default: 480)
#   LEAST   a part with fewer seconds left is named as skipped (default: 30)
#   COMMIT  what to record as the commit where the copy has no .git
#
# Set-up: torch 2.11 or later with CUDA, Transformers 5.17 or later, DeepSpeed (a wheel built elsewhere with
# DS_BUILD_OPS=0 serves), pytest; torchao for 8 bits. Nothing is fetched from the network. How to carry what a machine
# lacks is in benchmarks/README.md, "On a GPU".

set -u
began=$(date +%s)
budget=${BUDGET:-480}
least=${LEAST:-30}
LINES=15 # of what a failed part said

refuse() {
    echo "error: $1" >&2
    exit 2
}

command="sh benchmarks/gpu.sh${*:+ $*}"
dry='' output=runs/gpu.md
for argument; do
    case $argument in
    --dry-run) dry=--dry-run ;;
    -*) refuse "$argument: the only option is --dry-run" ;;
    *) output=$argument ;;
    esac
done
case $output in
/*) ;;
*) output=$PWD/$output ;;
esac

cd "$(dirname -- "$0")/.." || exit 2
[ -n "${PYTHON-}" ] || { [ -x .venv/bin/python ] && PYTHON=.venv/bin/python; } || PYTHON=python3
export HF_HUB_OFFLINE=1 PYTHONUNBUFFERED=1
title="MegaTinyBERT on a GPU"
if [ "$dry" ]; then
    title="DRY RUN on a CPU with tiny sizes: no number here is a GPU's"
    export DS_ACCELERATOR=cpu CUDA_VISIBLE_DEVICES=
fi
"$PYTHON" -c 'import torch, transformers' || refuse "$PYTHON lacks torch or transformers: name another with PYTHON="
[ "$dry" ] || "$PYTHON" -c 'import sys, torch; sys.exit(not torch.cuda.is_available())' ||
    refuse "torch sees no GPU here; --dry-run tries every part on the CPU"

work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT
trap '[ -z "${child-}" ] || kill "$child"; exit 1' HUP INT TERM
mkdir -p "$(dirname -- "$output")" || exit 2
failed=0

publish() {
    cat "$work/head" "$work/outcomes" "$work/parts" >"$output.part" && mv "$output.part" "$output"
}

# outcome NAME SECONDS TEXT
outcome() {
    echo "| $1 | $2 | $3 |" >>"$work/outcomes"
    echo "$1: $3 ($2 s)" >&2
    publish
}

# part NAME LIMIT COMMAND...: what the command prints is Markdown. LIMIT: seconds.
part() {
    name=$1 limit=$2
    shift 2
    left=$((budget - $(date +%s) + began))
    [ "$limit" -le "$left" ] || limit=$left
    printf '\n## %s%s\n\n' "$name" "${dry:+ (dry run, not a GPU)}" >>"$work/parts"
    if [ "$limit" -lt "$least" ]; then
        echo "Skipped." >>"$work/parts"
        failed=1
        outcome "$name" 0 "skipped: $left s of $budget were left"
        return
    fi
    from=$(date +%s)
    timeout -k 5 "$limit" "$@" >"$work/said" 2>"$work/errors" & # so that this shell can be interrupted
    child=$!
    wait "$child"
    code=$?
    cat "$work/said" >>"$work/parts"
    case $code in
    0) text=ok ;;
    124 | 137) text="stopped after $limit s" ;;
    *) text="failed with exit code $code" ;;
    esac
    if [ "$code" != 0 ]; then
        failed=1
        { printf '\nThe last lines of its errors:\n\n```text\n' && tr '\r' '\n' <"$work/errors" | tail -n $LINES &&
            printf '```\n'; } >>"$work/parts"
    fi
    outcome "$name" $(($(date +%s) - from)) "$text"
}

own() {
    name=$1 limit=$2 which=$3
    part "$name" "$limit" "$PYTHON" benchmarks/gpu.py "$which" "$work/inputs" $dry
}

{
    echo "# $title"
    echo
    echo "- command: \`$command\`"
    "$PYTHON" benchmarks/gpu.py prepare "$work/inputs" $dry 2>"$work/errors" || {
        tail -n $LINES "$work/errors" >&2
        refuse "the inputs could not be made"
    }
    printf '\n| part | seconds | outcome |\n|---|---|---|\n'
} >"$work/head"
: >"$work/outcomes" >"$work/parts"

own "Tests marked gpu" 120 tests
own "A student solved" 90 solve
own "A run through NCCL" 90 distil
own "A teacher in 8 bits" 150 quantized
teacher=$work/inputs/teacher
if [ "$dry" ]; then
    set -- --student "$work/inputs/student" --micro-batch 2 --repeats 2 --compile never
    short=16 long=32
else
    set -- --student 4L-312 --repeats 5
    short=128 long=512
fi
for length in $short $long; do
    part "A step at length $length" 150 "$PYTHON" benchmarks/step.py --teacher "$teacher" --length "$length" "$@"
done
printf '\n%s seconds in all.\n' $(($(date +%s) - began)) >>"$work/parts"
publish
exit $failed
