"""Every command block of README.md and docs/ runs, as it stands and in order, in a copy of the repository.

Blocks of `sh` go to a shell, those of `python` to Python; a `diff` is applied; `yaml` is read as a recipe and `json` as
JSON. A block whose first line is a comment with a path is the content of that file. Blocks of `text` are output, or
files of others, and hold no command; NO_COMMANDS lists the exceptions, with the reason.

What makes this possible in seconds: INPUTS makes, small, what the pages name but do not make themselves (a teacher,
text, shards, a task, a finished run). Programs that stand first on PATH make runs small: `deepspeed` and `python` give
TINY, or what suits the program, to a run after its own options, and the doctor measures no burst. `make` shows what it
would do, `tensorboard` prints what it finds and does not serve it. Commands for several machines reach a `deepspeed`
that notes its arguments, which the launcher's own parser then reads.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
import yaml
from deepspeed.launcher import runner
from safetensors.torch import save_file
from transformers import BertForPreTraining

from megatinybert.config.deepspeed import load_ds_config
from megatinybert.config.load import load_config
from megatinybert.config.shards import BuildOptions
from megatinybert.corpus.build import build_corpus
from tests.helpers import fork_server
from tests.helpers.pages import DOCS, README, CodeBlock, blocks, file_of, prose
from tests.helpers.published_layout import write_published
from tests.helpers.toys import REPOSITORY, VOCABULARY, WORDS, environment, free_port, metrics, write_teacher

WALKED = [README, *sorted(DOCS.glob("*.md"))]
PROGRAM = ("data_prep", "ds_configs", "launch", "megatinybert")
TINY_MLM = (
    "--run.max_steps 2 --run.epochs null --run.global_batch 4 --run.micro_batch null --run.log_interval 1"
    " --run.held_out_interval 1 --data.held_out_windows 4 --data.sequence_length 16"
)
TINY = f"{TINY_MLM} --teacher.dtype fp32 --monitor.attention_interval 0"
# A task's files are so small that its stages are short.
TINY_TASK = (
    "--task.max_length 16 --task.force true --teacher.dtype fp32 --run.held_out_interval 1000"
    " --monitor.attention_interval 0"
)
# Names and numbers of real models and runs, and what they are in the small.
IN_THE_SMALL = {"30522": str(len(VOCABULARY)), "step-00000500": "step-00000002"}

SEVERAL_MACHINES = ("--hostfile hosts", "HOSTFILE=hosts", "srun")
COMMANDS = r"^(?:[A-Z_]+=\S+ )*(?:bash|cd|deepspeed|export|git|make|pip|python3?|sbatch|sh|srun|tensorboard)\b"
NO_COMMANDS = {
    ("migration.md", "python pregenerate_training_data.py"): "commands of another repository",
    ("migration.md", "bash script/task_train.sh"): "commands of another repository",
    ("apex.md", 'python -c "import torch; print(torch.version.cuda)"'): "needs a CUDA compiler",
    ("apex.md", "git clone https://github.com/NVIDIA/apex"): "needs the network and a CUDA compiler",
}


def teacher(path: Path) -> None:
    """With the heads of BERT's pretraining, as the real ones have them."""
    write_teacher(path, layers=12, heads=12)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        BertForPreTraining.from_pretrained(path).save_pretrained(path)


def general_run(path: Path) -> None:
    """What a finished general distillation leaves for a task."""
    write_teacher(path / "student", layers=4, hidden=12, heads=12)
    (path / "config.yaml").write_text("")
    projection = {"projections.0.weight": torch.zeros(24, 12), "projections.0.bias": torch.zeros(24)}
    save_file(projection, path / "objective.safetensors", {"objective": "{}", "trained_positions": "64"})


def sst_2(path: Path) -> None:
    path.mkdir(parents=True)
    texts = [" ".join(WORDS[(11 * row + word * word) % len(WORDS)] for word in range(4 + row % 5)) for row in range(16)]
    labelled = "".join(f"{text}\t{row % 2}\n" for row, text in enumerate(texts))
    for split in ("train", "dev"):
        (path / f"{split}.tsv").write_text("sentence\tlabel\n" + labelled)
    (path / "test.tsv").write_text("index\tsentence\n" + "".join(f"{row}\t{text}\n" for row, text in enumerate(texts)))


def published_student(path: Path) -> None:
    write_published(path, layers=4, hidden=12, heads=12, teacher_width=24)


def text(path: Path) -> None:
    """A text of 200 documents; for a name without a suffix, a folder with one."""
    file = path if path.suffix else path / "book.txt"
    file.parent.mkdir(parents=True, exist_ok=True)
    documents = (" ".join(WORDS[(7 * d + i * i) % len(WORDS)] for i in range(40)) for d in range(200))
    file.write_text("\n\n".join(documents) + "\n")


def shards(path: Path) -> None:
    source, tokenizer = path.with_name("text-of-" + path.name), path.with_name("tokenizer-of-" + path.name)
    text(source)
    teacher(tokenizer)
    options = BuildOptions(
        input=[str(source)], tokenizer=str(tokenizer), output=path, workers=1, validation_fraction=0.1
    )
    build_corpus(options)


def reviews(path: Path) -> None:
    path.mkdir(parents=True)
    for name in ("train", "eval"):
        lines = (f"{WORDS[row]} {WORDS[2 * row]}\t{('good', 'bad')[row % 2]}\n" for row in range(16))
        (path / f"{name}.txt").write_text("".join(lines))


def recipe(path: Path) -> None:
    path.write_text("teacher: {model: google-bert/bert-base-uncased}\ndata: {shards: data/shards}\n")


def hosts(path: Path) -> None:
    path.write_text("node-1 slots=8\nnode-2 slots=8\n")


# What pages name without making it. A folder of runs is a copy of a finished one.
TEACHER = "google-bert/bert-base-uncased"
RUNS = ("runs/first", "runs/general", "runs/quickstart", "runs/task/stages/one")
INPUTS: dict[str, Callable[[Path], None]] = {
    TEACHER: teacher,
    "hfl/chinese-bert-wwm-ext": teacher,
    "TinyBERT_General_4L_312D": published_student,
    "my_text": text,
    "my_chinese_text": text,
    "corpus.txt": text,
    "data/*.txt": lambda path: text(path.with_name("train.txt")),
    "data/SST-2": sst_2,
    "data/reviews": reviews,
    "data/shards": shards,
    "data/wikipedia": shards,
    "runs/tinybert-4l": general_run,
    "runs/longer": lambda path: text(path / "corpus.txt"),
    "runs/wider": lambda path: text(path / "corpus.txt"),
    "recipe.yaml": recipe,
    "hosts": hosts,
}
# What is needed beside it, since the page does not name it.
NEEDED_BY = {"recipe.yaml": (TEACHER, "data/shards"), "launch/recipes/": (TEACHER, "data/wikipedia")}


def tool(path: Path, script: str) -> None:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def add(options: dict[str, str]) -> str:
    """A shell command that adds the options of the first pattern which the arguments match."""
    cases = " ".join(f'{pattern}) set -- "$@" {words} ;;' for pattern, words in options.items())
    return f'case "$*" in {cases} esac'


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder of programs for the PATH of commands on one machine."""
    folder = tmp_path_factory.mktemp("tools")
    installed = environment()["PATH"]
    with fork_server.server(folder, environment(PYTHONPATH="", DS_ACCELERATOR="cpu")) as python:
        launcher = f"{python} {shutil.which('deepspeed', path=installed)} --num_accelerators 1"
        mlm = '*"--objective.name mlm"*'
        run = {"*launch/task.sh*": TINY_TASK, mlm: TINY_MLM, "*": TINY}
        tool(folder / "deepspeed", f'{add(run)}\nexec {launcher} --master_port {free_port()} "$@"')
        program = {
            '"-m megatinybert.task"*': TINY_TASK,
            f'"-m megatinybert.general"{mlm}': TINY_MLM,
            '"-m megatinybert.general"*': TINY,
            '"-m megatinybert.doctor"*': f"{TINY} --no-burst",  # a burst takes 10 s
        }
        tool(folder / "python", f'{add(program)}\nexec {python} "$@"')
        tool(folder / "tensorboard", f'exec {python} -m tensorboard.main "$@" --inspect')
        tool(folder / "make", f'exec {shutil.which("make")} -C {REPOSITORY} -n "$@"')
        yield folder


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of programs for the PATH of commands on several machines; `deepspeed` adds a line to `arguments`."""
    folder = tmp_path_factory.mktemp("cluster")
    note = "import json, sys; print(json.dumps(sys.argv[1:]))"
    tool(folder / "deepspeed", f"python3 -c '{note}' \"$@\" >> arguments")
    tool(folder / "scontrol", "echo node-1; echo node-2")
    tool(folder / "srun", 'shift 2; for SLURM_NODEID in 0 1; do export SLURM_NODEID; "$@"; done')
    return folder


def in_the_small(block: CodeBlock) -> CodeBlock:
    words = block.text
    for real, small in IN_THE_SMALL.items():
        words = words.replace(real, small)
    return CodeBlock(block.language, words)


def copy_of_the_repository(folder: Path, page: Path, finished_run: Path) -> None:
    """The program, and what the page's blocks name but do not make."""
    for name in PROGRAM:
        shutil.copytree(REPOSITORY / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / ".venv" / "bin").mkdir(parents=True)
    (folder / ".venv" / "bin" / "activate").touch()
    commands = "".join(block.text for block in blocks(page) if block.language in ("sh", "python"))
    made_there = re.findall(r"--(?:run\.output_dir|output) (\S+)", commands)
    inputs = INPUTS | {run: lambda path: shutil.copytree(finished_run, path) for run in RUNS}
    named = {name for name in inputs if name in commands}
    named |= {name for cause, names in NEEDED_BY.items() if cause in commands for name in names}
    for name in sorted(named.difference(made_there)):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        inputs[name](folder / name)


def run_block(block: CodeBlock, folder: Path, tools: Path, cluster: Path) -> str:
    """Run one block: what it printed."""
    name = file_of(block)
    if name:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(block.text)
    if block.language == "sh" and any(mark in block.text for mark in SEVERAL_MACHINES):
        start_on_several_machines(block.text, folder, cluster)
    elif block.language == "sh":
        return shell(["sh", "-e", "-c", block.text], folder, tools)
    elif block.language == "python" and not name:
        return shell(["python", "-c", block.text], folder, tools)
    elif block.language == "diff":
        return shell(["git", "apply", "-"], folder, tools, block.text)
    elif block.language == "yaml":
        read_recipe(block.text, folder)
    elif block.language == "json":
        json.loads(block.text)
    return ""


def shell(command: list[str], folder: Path, tools: Path, given: str = "", **variables: str) -> str:
    clean = environment(PYTHONPATH="", **variables)
    clean["PATH"] = f"{tools}:{clean['PATH']}"
    command[0] = shutil.which(command[0], path=clean["PATH"]) or command[0]
    done = subprocess.run(
        command, cwd=folder, env=clean, input=given, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def start_on_several_machines(script: str, folder: Path, cluster: Path) -> None:
    """Run a script of launcher commands, and check that launcher and program understand them."""
    hosts(folder / "hosts")
    (folder / "arguments").unlink(missing_ok=True)
    shell(["sh", "-e", "-c", script], folder, cluster, SLURM_JOB_NODELIST="node-[1-2]")
    assert dict(runner.fetch_hostfile(str(folder / "hosts"))) == {"node-1": 8, "node-2": 8}
    calls = [runner.parse_args(json.loads(line)) for line in (folder / "arguments").read_text().splitlines()]
    assert calls and all((call.hostfile, call.user_script) == ("hosts", "launch/general.sh") for call in calls)
    for call in calls:
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)
            config = load_config(call.user_args)
            assert load_ds_config(config.deepspeed, config, world_size=16).raw["gradient_accumulation_steps"] == 1
        if call.no_ssh:
            assert call.master_addr == "node-1"
    if any(call.no_ssh for call in calls):
        assert [call.node_rank for call in calls] == [0, 1]


def read_recipe(recipe: str, folder: Path) -> None:
    """Have the program read a recipe, with what it may leave to the command line."""
    (folder / "block.yaml").write_text(recipe)
    sections = yaml.safe_load(recipe)
    given = [] if "model" in sections.get("teacher", {}) else ["--teacher.model", "a"]
    given += [] if {"shards", "text"} & set(sections.get("data", {})) else ["--data.shards", "a", "b"]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        load_config(["--config", "block.yaml", *given])


def check_readme(folder: Path, printed: str) -> None:
    for expected in ("all intact", "0 wrong", "loss/total"):
        assert expected in printed
    for run in ("first", "mixed", "tinybert-4l"):
        assert [row["step"] for row in metrics(folder / "runs" / run)] == [0, 1, 2]
    assert json.loads((folder / "runs" / "sst-2" / "results.json").read_text()).keys() >= {"teacher", "student"}
    assert "'label': '" in printed


def check_task(folder: Path, printed: str) -> None:
    run = folder / "runs" / "sst-2"
    results = json.loads((run / "results.json").read_text())
    assert all(0 <= results[model]["dev"]["accuracy"] <= 1 for model in ("teacher", "student"))
    assert "stage two: done already" in printed and "loss/prediction" in printed
    assert (run / "predictions" / "SST-2.tsv").read_text().startswith("index\tprediction\n")
    answers = [json.loads(line) for line in (folder / "new.jsonl").read_text().splitlines()]
    assert [answer["text_a"] for answer in answers] == ["a fine film", "a dull film"]
    assert {"negative", "positive"} == answers[0]["probabilities"].keys()


def check_own_student(folder: Path, printed: str) -> None:
    for run in ("my-student", "shipped-shape"):
        shape = json.loads((folder / "runs" / run / "student" / "config.json").read_text())
        assert [shape[key] for key in ("num_hidden_layers", "hidden_size", "intermediate_size")] == [3, 240, 960]


def check_own_objective(folder: Path, printed: str) -> None:
    """The cosine objective ran: its terms alone are there, each between 0 and 2, and the steps changed the student."""
    rows = metrics(folder / "runs" / "cosine")
    assert [row["step"] for row in rows] == [0, 1, 2]
    logged = {tag for row in rows for tag in row if tag.startswith("loss")}
    assert logged == {"loss/total", "loss/hidden", *(f"loss_per_layer/hidden_{layer}" for layer in range(3))}
    for row in rows[1:]:
        per_layer = [row[f"loss_per_layer/hidden_{layer}"] for layer in range(3)]
        assert all(0 <= value <= 2 for value in per_layer)
        assert row["loss/total"] == pytest.approx(sum(per_layer), rel=1e-6)
    assert rows[2]["held_out/total"] < rows[0]["held_out/total"]


CHECKS = {
    "README.md": check_readme,
    "task.md": check_task,
    "own-student.md": check_own_student,
    "own-objective.md": check_own_objective,
}


@pytest.mark.parametrize("page", WALKED, ids=lambda page: page.name)
def test_every_block_runs(page: Path, tmp_path: Path, tools: Path, cluster: Path, golden_run: Path) -> None:
    copy_of_the_repository(tmp_path, page, golden_run)
    printed = "".join(run_block(in_the_small(block), tmp_path, tools, cluster) for block in blocks(page))
    CHECKS.get(page.name, lambda folder, printed: None)(tmp_path, printed)


@pytest.mark.parametrize("page", WALKED, ids=lambda page: page.name)
def test_every_block_says_what_it_is(page: Path) -> None:
    assert {block.language for block in blocks(page)} <= {"sh", "python", "diff", "yaml", "json", "text"}
    assert not re.search(r"\n\n(?: {4}|\t)\S", prose(page)), "a code block without a fence"
    for block in blocks(page):
        if block.language == "text" and re.search(COMMANDS, block.text, re.M):
            reasons = [
                why
                for (name, start), why in NO_COMMANDS.items()
                if (name, block.text[: len(start)]) == (page.name, start)
            ]
            assert reasons, f"a command that nobody runs:\n{block.text}"


def test_no_exception_is_left_over() -> None:
    for name, start in NO_COMMANDS:
        assert any(block.text.startswith(start) for block in blocks(DOCS / name)), start
