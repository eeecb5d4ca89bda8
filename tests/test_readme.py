"""What README and docs say is so: commands run, links lead somewhere, options, files, metrics and messages exist.

The `sh` and `python` blocks of README.md run as they stand, in order, in a folder that holds what they name: a tiny
teacher where the hub's name would be, a text, and links to the repository's folders. Programs that stand first on PATH
make them small: `deepspeed` trains two steps in one process, `tensorboard` prints what it found instead of serving it.
Commands for several machines reach a `deepspeed` that notes its arguments, which the launcher's own parser then reads.
`make` targets are looked up with `make -n`.
"""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from deepspeed.launcher import runner

from megatinybert.config import load_config
from megatinybert.ds_config import load_ds_config
from megatinybert.schema import GeneralConfig, shipped_students
from tests.toys import REPOSITORY, WORDS, environment, free_port, metrics, write_teacher

README = REPOSITORY / "README.md"
ARCHITECTURE, GENERAL, CLUSTER = (REPOSITORY / "docs" / f"{name}.md" for name in ("architecture", "general", "cluster"))
PAGES = sorted([*REPOSITORY.glob("README*.md"), *(REPOSITORY / "docs").glob("*.md")])

TINY = (
    "--run.max_steps 2 --run.global_batch 4 --run.log_interval 1 --run.held_out_interval 1 --data.held_out_windows 4"
    " --data.sequence_length 16 --teacher.dtype fp32"
)
NOTED = "arguments.jsonl"
SEVERAL_MACHINES = ("--hostfile", "HOSTFILE", "srun")
# Of programs that are not here.
FOREIGN_OPTIONS = {"--nodes", "--ntasks-per-node", "--gpus-per-node", "--logdir", "--no-deps", "--section"}


class CodeBlock(NamedTuple):
    language: str
    text: str


def blocks(page: Path) -> list[CodeBlock]:
    return [CodeBlock(*found) for found in re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text(), re.M | re.S)]


def shell_blocks(page: Path, several_machines: bool) -> list[str]:
    found = (block.text for block in blocks(page) if block.language in ("sh", "bash"))
    return [text for text in found if any(mark in text for mark in SEVERAL_MACHINES) == several_machines]


def section(page: Path, heading: str) -> str:
    """The text below a heading, down to the next heading of its level or above."""
    text = page.read_text()
    level, start = next((m[1], m.end()) for m in re.finditer(r"^(#+) (.*)$", text, re.M) if m[2] == heading)
    rest = re.search(rf"^#{{1,{len(level)}}} ", text[start:], re.M)
    return text[start : start + rest.start()] if rest else text[start:]


def table_rows(text: str) -> list[list[str]]:
    """The cells of every table in `text`, without lines of dashes."""
    lines = (line for line in text.splitlines() if line.startswith("|") and not line.startswith("| ---"))
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def first_names(text: str) -> list[str]:
    """What stands in backticks in the first column of the tables in `text`."""
    return [name for cells in table_rows(text) for name in re.findall(r"`([^`]+)`", cells[0])]


def options() -> dict[str, Any]:
    """The default of every option by its dotted name; ... where there is none."""
    found = {}
    for name, field in GeneralConfig.model_fields.items():
        inner = getattr(field.annotation, "model_fields", None)
        if inner is None:
            found[name] = field.default
        else:
            found |= {f"{name}.{key}": ... if f.is_required() else f.default for key, f in inner.items()}
    return found


def tool(folder: Path, name: str, script: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


def shell(script: str, folder: Path, tools: Path, **variables: str) -> str:
    clean = environment(PYTHONPATH="", **variables)
    clean["PATH"] = f"{tools}:{clean['PATH']}"
    done = subprocess.run(
        ["sh", "-e", "-c", script], cwd=folder, env=clean, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, f"{script}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the commands find what they name."""
    folder = tmp_path_factory.mktemp("readme")
    for name in ("data_prep", "launch", "ds_configs"):
        (folder / name).symlink_to(REPOSITORY / name)
    write_teacher(folder / "google-bert" / "bert-base-uncased", layers=4, heads=12)
    (folder / "my_text").mkdir()
    documents = (" ".join(WORDS[(7 * d + i * i) % len(WORDS)] for i in range(40)) for d in range(200))
    (folder / "my_text" / "book.txt").write_text("\n\n".join(documents) + "\n")
    (folder / "recipe.yaml").write_text(
        "teacher: {model: google-bert/bert-base-uncased}\ndata: {shards: data/shards}\n"
    )
    return folder


@pytest.fixture(scope="module")
def walked(workplace: Path) -> dict[str, str]:
    """Every command of README.md for one machine, run: {block: what it printed}."""
    tools = workplace / "tools"
    real = {name: shutil.which(name, path=environment()["PATH"]) for name in ("deepspeed", "tensorboard")}
    launcher = f"{real['deepspeed']} --num_accelerators 1 --master_port {free_port()}"
    tool(tools, "deepspeed", f'exec {launcher} "$@" {TINY}')
    tool(tools, "tensorboard", f'exec {real["tensorboard"]} "$@" --inspect')
    runnable = [text for text in shell_blocks(README, several_machines=False) if not re.match("make ", text)]
    return {text: shell(text, workplace, tools) for text in runnable}


def test_commands_for_one_machine_work(walked: dict[str, str], workplace: Path) -> None:
    printed = "\n".join(walked.values())
    assert len(walked) == 3
    for expected in ("all intact", "--run.max_steps", "max_steps: 300", "loss/total"):
        assert expected in printed
    assert [row["step"] for row in metrics(workplace / "runs" / "first")] == [0, 1, 2]


def test_python_of_the_readme_works(walked: dict[str, str], workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workplace)
    names: dict[str, Any] = {}
    for block in blocks(README):
        if block.language == "python":
            exec(block.text, names)
    assert names["hidden_states"].shape[-1] == 312


def test_make_targets_exist() -> None:
    lines = [line for text in shell_blocks(README, False) if text.startswith("make ") for line in text.splitlines()]
    targets = [line.removeprefix("make ") for line in lines if line != ". .venv/bin/activate"]
    assert targets == ["quickstart", "test", "setup"]
    for target in targets:
        subprocess.run(["make", "-n", target], cwd=REPOSITORY, capture_output=True, check=True)


@pytest.mark.parametrize("page", [README, CLUSTER], ids=lambda page: page.name)
def test_commands_for_several_machines_are_understood(page: Path, workplace: Path) -> None:
    tools = workplace / "cluster tools"
    note = "import json, sys; print(json.dumps(sys.argv[1:]))"
    tool(tools, "deepspeed", f"python -c '{note}' \"$@\" >> {workplace / NOTED}")
    tool(tools, "scontrol", "echo node-1; echo node-2")
    tool(tools, "srun", 'shift 2; for SLURM_NODEID in 0 1; do export SLURM_NODEID; "$@"; done')
    seen = []
    for text in shell_blocks(page, several_machines=True):
        (workplace / "hosts").write_text("node-1 slots=8\nnode-2 slots=8\n")
        (workplace / NOTED).unlink(missing_ok=True)
        shell(text, workplace, tools, SLURM_JOB_NODELIST="node-[1-2]")
        hosts = runner.fetch_hostfile(str(workplace / "hosts"))
        assert dict(hosts) == {"node-1": 8, "node-2": 8}
        lines = (workplace / NOTED).read_text().splitlines()
        calls = [runner.parse_args(json.loads(line)) for line in lines]
        assert calls and all((call.hostfile, call.user_script) == ("hosts", "launch/general.sh") for call in calls)
        for call in calls:
            with pytest.MonkeyPatch.context() as patch:
                patch.chdir(workplace)
                config = load_config(call.user_args)
                assert load_ds_config(config.deepspeed, config, world_size=16).raw["gradient_accumulation_steps"] == 1
            if call.no_ssh:
                assert call.master_addr == "node-1"
        seen.append([call.node_rank if call.no_ssh else None for call in calls])
    assert seen == [[None, None], [0, 1], [0, 1]]


def test_both_languages_say_the_same() -> None:
    chinese = REPOSITORY / "README.zh.md"
    assert blocks(chinese) == blocks(README)

    def levels(page: Path) -> list[str]:
        return re.findall(r"^(#+) ", re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.M | re.S), re.M)

    def targets(page: Path) -> list[str]:
        return [target for target in re.findall(r"\]\(([^)]+)\)", page.read_text()) if "README." not in target[:7]]

    assert levels(chinese) == levels(README)
    assert targets(chinese) == targets(README)
    items = [re.findall(r"^- ", page.read_text(), re.M) for page in (chinese, README)]
    assert len(items[0]) == len(items[1])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if target.startswith("https://"):
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        assert file.is_relative_to(REPOSITORY) and file.is_file(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", file.read_text(), re.M)
            assert anchor in {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}, target


@pytest.fixture(scope="module")
def known_options() -> set[str]:
    """Every option of the launcher, of our scripts and of the Makefile's tools, by their own help and source."""
    help_text = subprocess.run(
        ["deepspeed", "--help"], env=environment(), capture_output=True, text=True, check=True
    ).stdout
    ours = [
        REPOSITORY / "Makefile",
        *(REPOSITORY / "data_prep").glob("*.py"),
        REPOSITORY / "megatinybert" / "config.py",
    ]
    texts = [help_text, *(path.read_text() for path in ours)]
    return {f"--{name}" for name in options()} | set(re.findall(r"--[a-zA-Z][\w-]*", " ".join(texts)))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_options_exist(page: Path, known_options: set[str]) -> None:
    mentioned = set(re.findall(r"(?<![\w-])--[a-zA-Z][\w-]*(?:\.[a-z_]+)?", page.read_text())) - {"--section.key"}
    assert mentioned - known_options - FOREIGN_OPTIONS == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_exist(page: Path) -> None:
    text = page.read_text()
    folders = "megatinybert|data_prep|launch|ds_configs|tests|benchmarks|docs"
    for path in re.findall(rf"(?<![\w/.-])((?:{folders})/[\w./-]*)", text):
        assert (REPOSITORY / path.rstrip(".")).exists(), path
    for name in re.findall(r"(?<![\w/])data/\w+\.py", text):
        assert (REPOSITORY / "megatinybert" / name).exists(), name
    for name in re.findall(r"\bzero\d(?:-\w+)?\b", text):
        assert (REPOSITORY / "ds_configs" / f"{name}.json").exists(), name
    assert set(re.findall(r"\b\d+L-\d+\b", text)) <= set(shipped_students())


def test_every_option_stands_in_its_section_with_its_default() -> None:
    defaults = options()
    names = list(dict.fromkeys(name.split(".")[0] for name in defaults))
    written = {}
    for name in names:
        for cells in table_rows(section(GENERAL, name)):
            if cells[0].startswith("`--"):
                assert cells[0].startswith(f"`--{name}"), cells[0]
                written[cells[0].strip("`").removeprefix("--")] = cells[1].strip("`")
    assert written.keys() == defaults.keys()
    for name, text in written.items():
        default = defaults[name]
        if default is ...:
            assert text == "required", name
        elif isinstance(default, str):
            assert text == default, name
        else:
            assert json.loads(text) == json.loads(json.dumps(default)), name


def test_shapes_are_described_as_they_are() -> None:
    for cells in table_rows(section(GENERAL, "student")):
        if cells[0].strip("`") in shipped_students():
            shape = json.loads((REPOSITORY / "megatinybert" / "students" / f"{cells[0].strip('`')}.json").read_text())
            layers, width = cells[1].split(" × ")  # noqa: RUF001 - as the page has it
            assert [int(layers), int(width)] == [shape["num_hidden_layers"], shape["hidden_size"]]
            assert cells[2:4] == [str(shape["num_attention_heads"]), f"{shape['intermediate_size']:,}"]
    assert set(shipped_students()) <= set(first_names(section(GENERAL, "student")))


def test_metrics_output_and_conditions_of_resuming_are_those_of_a_run(walked: dict[str, str], workplace: Path) -> None:
    run = workplace / "runs" / "first"
    tags = {tag for row in metrics(run) for tag in row} - {"step"}
    described = {tag.format(i=layer) for tag in first_names(section(GENERAL, "Metrics")) for layer in range(4)}
    assert described == tags
    for name in first_names(section(GENERAL, "Output"))[1:]:
        assert (run / name).exists(), name
    state = json.loads((run / "checkpoints" / "step-00000002" / "state.json").read_text())
    assert set(first_names(section(GENERAL, "Resuming"))) == state["facts"].keys()


def messages() -> Iterator[str]:
    """Every text in the library, with … for values, and the launch file."""
    for path in (REPOSITORY / "megatinybert").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr):
                yield "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value
    yield (REPOSITORY / "launch" / "general.sh").read_text()


def test_messages_are_those_of_the_program() -> None:
    known = list(messages())
    fragments = first_names(section(GENERAL, "Messages"))
    assert len(fragments) > 15
    for fragment in fragments:
        assert any(fragment in message for message in known), fragment


def test_the_folder_tree_is_the_folder_tree() -> None:
    parents: list[str] = []
    found = set()
    for line in next(b.text for b in blocks(ARCHITECTURE) if "megatinybert/" in b.text).splitlines():
        name = line.split()[0]
        depth = (len(line) - len(line.lstrip())) // 2
        parents[depth:] = [name.rstrip("/")]
        path = Path(*parents)
        assert (REPOSITORY / path).exists(), path
        found.add(path)
    library = REPOSITORY / "megatinybert"
    modules = {path.relative_to(REPOSITORY) for path in library.rglob("*.py") if path.name != "__init__.py"}
    assert {path for path in found if path.suffix == ".py"} == modules


def test_imports_point_one_way() -> None:
    lines = next(b.text for b in blocks(ARCHITECTURE) if b.text.startswith("general,")).splitlines()
    level = {name.strip(" /"): number for number, line in enumerate(lines) for name in line.split(",")}
    library = REPOSITORY / "megatinybert"
    for path in library.rglob("*.py"):
        own = path.relative_to(library).with_suffix("").parts[0]
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.ImportFrom) or not (node.module or "").startswith("megatinybert"):
                continue
            parts = (node.module or "").split(".")
            modules = parts[1:2] or [alias.name for alias in node.names if not alias.name.startswith("__")]
            for module in modules:
                table_of_names = (own, node.module) == ("schema", "megatinybert.objectives")
                assert module == own or table_of_names or level[module] > level[own], f"{path} imports {module}"
    names = {path.stem for path in library.iterdir() if not path.name.startswith("__")}
    assert level.keys() == names - {"students"}


def test_no_figure_is_left_to_be_filled_in() -> None:
    for page in [REPOSITORY / "README.md", REPOSITORY / "README.zh.md", *(REPOSITORY / "docs").glob("*.md")]:
        assert "{{" not in page.read_text(encoding="utf-8"), page
