"""Every command block of the READMEs and docs/ works, in order, in a copy of the repository.

The blocks of RUN really run, as they stand. Programs that stand first on PATH make their runs small: `deepspeed` and
`python` give TINY, or what suits the program, to a run after its own options; `deepspeed` starts one process and no
launcher (tests/repository/test_launch_forms.py has that); both are a `warm_python`; the doctor measures no burst;
`make` shows what it would do, and `tensorboard` prints what it finds and does not serve it. page_inputs makes what the
pages name but do not make.

Of all other pages, and where commands are for several machines, a shell notes what it would start, and each program
reads its words (see tests/helpers/commands.py).

Blocks of `python` are run or compiled likewise; a `diff` is applied; `yaml` is read as a recipe and `json` as JSON. A
block whose first line is a comment with a path is the content of that file. Blocks of `text` are output, or files of
others, and hold no command; NO_COMMANDS lists the exceptions, with the reason.
"""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from deepspeed.launcher import runner
from transformers import BertConfig

from megatinybert.config.load import load_config
from megatinybert.models.configuration import student_config
from tests.helpers.commands import (
    NOTE,
    check_call,
    check_python,
    noted_calls,
    read_launch,
    write_noting_tools,
    write_tool,
)
from tests.helpers.page_inputs import copy_of_the_repository, hosts
from tests.helpers.pages import CHINESE_README, DOCS, README, CodeBlock, blocks, file_of, prose
from tests.helpers.toys import REPOSITORY, environment, metrics
from tests.helpers.warm_python import warm_python

RUN = [README, *(DOCS / f"{name}.md" for name in ("own-objective", "quickstart", "task"))]
READ = sorted(set(DOCS.glob("*.md")).difference(RUN))
# Where it is not installed, what imports it is compiled alone; tests/training/test_sentence_vectors.py runs the like.
NOT_REQUIRED = "sentence_transformers"
TINY = (
    "--run.max_steps 2 --run.epochs null --run.global_batch 4 --run.micro_batch null --run.log_interval 1"
    " --run.held_out_interval 1 --data.held_out_windows 4 --data.sequence_length 16 --teacher.dtype fp32"
    " --monitor.attention_interval 0"
)
# A task's files are so small that its stages are short.
TINY_TASK = (
    "--task.max_length 16 --task.force true --teacher.dtype fp32 --run.held_out_interval 1000"
    " --monitor.attention_interval 0"
)
SEVERAL_MACHINES = ("--hostfile hosts", "HOSTFILE=hosts", "sbatch")
COMMANDS = r"^(?:[A-Z_]+=\S+ )*(?:bash|cd|deepspeed|export|git|make|pip|python3?|sbatch|sh|srun|tensorboard|torchrun)\b"
NO_COMMANDS = {
    ("migration.md", "python pregenerate_training_data.py"): "commands of another repository",
    ("migration.md", "bash script/task_train.sh"): "commands of another repository",
    ("shards.md", "ray start --head"): "needs several machines",
    ("apex.md", 'python -c "import torch; print(torch.version.cuda)"'): "needs a CUDA compiler",
    ("apex.md", "git clone https://github.com/NVIDIA/apex"): "needs the network and a CUDA compiler",
}


def add(options: dict[str, str]) -> str:
    """A shell command that adds the options of the first pattern which the arguments match."""
    cases = " ".join(f'{pattern}) set -- "$@" {words} ;;' for pattern, words in options.items())
    return f'case "$*" in {cases} esac'


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of programs for the PATH of commands that run."""
    folder = tmp_path_factory.mktemp("running")
    python = shlex.join(warm_python())
    solved = f"{TINY} --student.solve_tokens 2048"  # of a wide student, many take minutes
    run = add({"launch/task.sh*": TINY_TASK, "*recipes/tinybert-4l.yaml*|*objective.name*": TINY, "*": solved})
    skip_launcher_options = "while case $1 in launch/*) false ;; esac; do shift; done"
    write_tool(folder / "deepspeed", f'{NOTE}\n{skip_launcher_options}\n{run}\nexec {python} "$@"')
    program = {
        '"-m megatinybert.task"*': TINY_TASK,
        '"-m megatinybert.general"*': TINY,
        '"-m megatinybert.doctor"*': f"{TINY} --no-burst",  # a burst takes 10 s
    }
    write_tool(folder / "python", f'{add(program)}\nexec {python} "$@"')
    write_tool(folder / "tensorboard", f'exec {python} -m tensorboard.main "$@" --inspect')
    write_tool(folder / "make", f'exec {shutil.which("make")} -C {REPOSITORY} -n "$@"')
    return folder


@pytest.fixture(scope="module")
def noting(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of programs for the PATH of commands that are only read."""
    folder = tmp_path_factory.mktemp("noting")
    write_noting_tools(folder)
    return folder


def shell(command: list[str], folder: Path, path: str, given: str = "", **variables: str) -> str:
    """Run a command in `folder`: what it printed."""
    clean = environment(PYTHONPATH="", **variables) | {"PATH": path}
    command[0] = shutil.which(command[0], path=path) or command[0]
    done = subprocess.run(
        command, cwd=folder, env=clean, input=given, capture_output=True, text=True, timeout=900, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def run_block(block: CodeBlock, folder: Path, running: Path, noting: Path) -> str:
    """Run one block: what it printed."""
    path = f"{running}:{environment()['PATH']}"
    if block.language == "sh" and not is_for_several_machines(block):
        printed = shell(["sh", "-e", "-c", block.text], folder, path)
        for call in noted_calls(folder):
            read_launch(call)
        return printed
    if block.language == "python" and NOT_REQUIRED in block.text and not importlib.util.find_spec(NOT_REQUIRED):
        compile(block.text, "block", "exec")
        return ""
    if block.language == "python" and not file_of(block):
        return shell(["python", "-c", block.text], folder, path)
    read_block(block, folder, noting)
    return ""


def read_block(block: CodeBlock, folder: Path, noting: Path) -> None:
    """Check one block without running it; files that it holds or writes are written in `folder`."""
    name = file_of(block)
    if name:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(block.text)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        students = folder / "megatinybert" / "models" / "students"
        patch.setattr("megatinybert.config.schema.STUDENTS_FOLDER", students)
        if block.language == "sh":
            read_commands(block, folder, noting)
        elif block.language == "python" and not name:
            check_python(block.text)
        elif block.language == "python":
            compile(block.text, name or "", "exec")
        elif block.language == "diff":
            shell(["git", "apply", "-"], folder, environment()["PATH"], block.text)
        elif block.language == "yaml":
            read_recipe(block.text)
        elif block.language == "json":
            json.loads(block.text)
        else:
            assert block.language == "text", block


def is_for_several_machines(block: CodeBlock) -> bool:
    return any(mark in block.text for mark in SEVERAL_MACHINES)


def read_commands(block: CodeBlock, folder: Path, noting: Path) -> None:
    hosts(folder / "hosts")
    job = {"SLURM_JOB_NODELIST": "node-[1-2]", "SLURM_JOB_ID": "7", "SLURM_GPUS_ON_NODE": "8"}
    shell(["sh", "-e", "-c", block.text], folder, str(noting), **job)
    calls = noted_calls(folder)
    for call in calls:
        check_call(call)
    if not is_for_several_machines(block):
        return
    launches = [read_launch(call) for call in calls]
    hostfile = "hosts-7" if "sbatch" in block.text else "hosts"
    assert dict(runner.fetch_hostfile(str(folder / hostfile))) == {"node-1": 8, "node-2": 8}
    assert launches and all((each.hostfile, each.user_script) == (hostfile, "launch/general.sh") for each in launches)
    if any(launch.no_ssh for launch in launches):
        assert [(launch.node_rank, launch.master_addr) for launch in launches] == [(0, "node-1"), (1, "node-1")]


def read_recipe(recipe: str) -> None:
    """Have the program read a recipe, with what it may leave to the command line."""
    Path("block.yaml").write_text(recipe)
    sections = yaml.safe_load(recipe)
    given = [] if "model" in sections.get("teacher", {}) else ["--teacher.model", "a"]
    given += [] if {"shards", "text"} & set(sections.get("data", {})) else ["--data.shards", "a", "b"]
    load_config(["--config", "block.yaml", *given])


def check_readme(folder: Path, printed: str) -> None:
    for expected in ("all intact", "0 wrong", "loss/total"):
        assert expected in printed
    for run in ("first", "mixed", "tinybert-4l"):
        assert [row["step"] for row in metrics(folder / "runs" / run)] == [0, 1, 2]
    assert json.loads((folder / "runs" / "reviews" / "results.json").read_text()).keys() >= {"teacher", "student"}
    assert "'label': '" in printed


def check_task(folder: Path, printed: str) -> None:
    run = folder / "runs" / "sst-2"
    results = json.loads((run / "results.json").read_text())
    assert all(0 <= results[model]["dev"]["accuracy"] <= 1 for model in ("teacher", "student"))
    assert "stage two: done already" in printed and "loss/prediction" in printed
    assert (run / "predictions" / "SST-2.tsv").read_text().startswith("index\tprediction\n")
    answers = [json.loads(line) for line in (folder / "runs" / "new.jsonl").read_text().splitlines()]
    assert [answer["text_a"] for answer in answers] == ["a fine film", "a dull film"]
    assert {"negative", "positive"} == answers[0]["probabilities"].keys()


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
    card = (folder / "runs" / "cosine" / "student" / "README.md").read_text()
    assert "| objective | cosine |\n" in card and "| layer map |" not in card


def check_own_student(folder: Path) -> None:
    """Both the folder and the shipped shape are the student that the page speaks of."""
    teacher = BertConfig()
    shape = student_config(str(folder / "my_student"), teacher, hidden_dropout=0, attention_dropout=0).to_dict()
    shipped = json.loads((folder / "megatinybert" / "models" / "students" / "3L-240.json").read_text())
    assert shipped.items() <= shape.items() and shape["vocab_size"] == teacher.vocab_size
    assert [shipped[key] for key in ("num_hidden_layers", "hidden_size", "intermediate_size")] == [3, 240, 960]


CHECKS = {
    "README.md": check_readme,
    "README.zh.md": check_readme,
    "task.md": check_task,
    "own-objective.md": check_own_objective,
}


# tests/repository/test_readme.py looks at its blocks, but for examples those of README.md.
SLOW = pytest.param(CHINESE_README, marks=pytest.mark.slow)


@pytest.mark.parametrize("page", [*RUN, SLOW], ids=lambda page: page.name)
def test_every_block_runs(page: Path, tmp_path: Path, running: Path, noting: Path, golden_run: Path) -> None:
    copy_of_the_repository(tmp_path, page, golden_run)
    printed = "".join(run_block(block, tmp_path, running, noting) for block in blocks(page))
    CHECKS.get(page.name, lambda folder, printed: None)(tmp_path, printed)


@pytest.mark.parametrize("page", READ, ids=lambda page: page.name)
def test_every_block_is_understood(page: Path, tmp_path: Path, noting: Path) -> None:
    copy_of_the_repository(tmp_path, page, None)
    for block in blocks(page):
        read_block(block, tmp_path, noting)
    if page.name == "own-student.md":
        check_own_student(tmp_path)


RUN_OPTIONS = "--teacher.model a --data.shards b"


@pytest.mark.parametrize(
    ("language", "text", "message"),
    [
        ("sh", "pip install megatinybert", "pip: not found"),
        ("sh", "python setup.py install", "setup.py"),
        ("sh", "python -m megatinybert.trainer", "megatinybert/trainer.py"),
        ("sh", f"sh launch/general.sh {RUN_OPTIONS} --run.max_stepz 2", "did you mean --run.max_steps"),
        ("sh", f"deepspeed launch/general.sh {RUN_OPTIONS} --deepspeed zero7", "--deepspeed zero7: no such file"),
        ("sh", f"deepspeed --hostfiles hosts launch/general.sh {RUN_OPTIONS}", "unrecognized arguments: --hostfiles"),
        ("sh", f"python -m megatinybert.doctor {RUN_OPTIONS} --no-bursts", "--no-bursts"),
        ("sh", "sh launch/task.sh three --task.name sst-2", "three: no such action"),
        ("sh", "python data_prep/build_shards.py --input a --output b", "--tokenizer"),
        ("sh", "python data_prep/inspect_shards.py a --verifi", "--verifi"),
        ("sh", "python -c 'from megatinybert.corpus.shards import open_nothing'", "has no open_nothing"),
        ("sh", "make nothing", "nothing"),
        ("python", "from megatinybert.corpus.shards import open_nothing", "has no open_nothing"),
        ("yaml", "run: {max_stepz: 2}", "did you mean --run.max_steps"),
        ("json", "{,}", "double quotes"),
        ("toml", "a = 1", "toml"),
    ],
)
def test_a_block_that_is_wrong_is_found(
    language: str, text: str, message: str, tmp_path: Path, noting: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(REPOSITORY / "launch", tmp_path / "launch")
    with pytest.raises((Exception, SystemExit)) as refused:
        read_block(CodeBlock(language, text + "\n"), tmp_path, noting)
    said = capsys.readouterr()  # the doctor's table goes to standard output
    assert message in str(refused.value) + said.err + said.out


@pytest.mark.parametrize("page", [CHINESE_README, *RUN, *READ], ids=lambda page: page.name)
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
