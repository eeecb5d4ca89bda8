"""What README and docs say is so: links lead somewhere, options, files, metrics and messages exist.

tests/repository/test_docs.py runs their commands.
"""

from __future__ import annotations

import ast
import json
import re
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from megatinybert.config.general import GeneralConfig
from megatinybert.config.schema import ProgramConfig, shipped_students
from megatinybert.config.task import StageConfig, TaskConfig
from tests.helpers.pages import DOCS, PAGES, README, blocks, first_names, prose, section, table_rows, written_files
from tests.helpers.toys import REPOSITORY, environment, metrics

ARCHITECTURE, GENERAL, MIGRATION, RESUME, TASK, TROUBLESHOOT = (
    DOCS / f"{name}.md" for name in ("architecture", "general", "migration", "resume", "task", "troubleshoot")
)
STAGES = ("finetune", "mlm", "one", "two")  # whose options have one table in docs/task.md
# Of programs that are not here.
FOREIGN_OPTIONS = {
    *("--nodes", "--ntasks-per-node", "--gpus-per-node", "--logdir", "--host", "--no-deps", "--section"),
    *("--no-build-isolation", "--config-settings", "--build-option", "--cpp_ext", "--cuda_ext"),
}
# Of the published scripts, by their parsers.
TINYBERT_OPTIONS = {
    *("--train_corpus", "--output_dir", "--bert_model", "--do_lower_case", "--do_whole_word_mask", "--reduce_memory"),
    *("--num_workers", "--epochs_to_generate", "--max_seq_len", "--short_seq_prob", "--masked_lm_prob", "--data_url"),
    *("--max_predictions_per_seq", "--one_seq", "--pregenerated_data", "--teacher_model", "--student_model", "--seed"),
    *("--max_seq_length", "--do_eval", "--train_batch_size", "--eval_batch_size", "--learning_rate", "--eval_step"),
    *("--weight_decay", "--num_train_epochs", "--warmup_proportion", "--no_cuda", "--local_rank", "--fp16"),
    *("--gradient_accumulation_steps", "--continue_train"),
    *("--pretrained_bert_model", "--glove_embs", "--glue_dir", "--task_name", "--N", "--M", "--p"),
    *("--data_dir", "--cache_dir", "--aug_train", "--pred_distill", "--temperature"),
}
# Of its simplified fork.
OTHER_TINYBERT_OPTIONS = {
    "--train_file_path",
    "--data_path",
    "--max_seq_len",
    "--num_labels",
    "--task_mode",
    "--do_train",
}


def options(schema: type[ProgramConfig]) -> dict[str, Any]:
    """The default of every option by its dotted name; ... where there is none."""
    found = {}
    for name, field in schema.model_fields.items():
        inner = getattr(field.annotation, "model_fields", None)
        if inner is None:
            found[name] = field.default
        else:
            found |= {f"{name}.{key}": ... if f.is_required() else f.default for key, f in inner.items()}
    return found


def test_both_languages_say_the_same() -> None:
    chinese = REPOSITORY / "README.zh.md"
    assert blocks(chinese) == blocks(README)

    def levels(page: Path) -> list[str]:
        return re.findall(r"^(#+) ", prose(page), re.M)

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
        *(REPOSITORY / "megatinybert").glob("*.py"),
    ]
    texts = [help_text, *(path.read_text() for path in ours)]
    named = options(GeneralConfig) | options(TaskConfig)
    return {f"--{name}" for name in named} | set(re.findall(r"--[a-zA-Z][\w-]*", " ".join(texts)))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_options_exist(page: Path, known_options: set[str]) -> None:
    mentioned = set(re.findall(r"(?<![\w-])--[a-zA-Z][\w-]*(?:\.[a-z_]+)?", page.read_text())) - {"--section.key"}
    foreign = FOREIGN_OPTIONS | (TINYBERT_OPTIONS | OTHER_TINYBERT_OPTIONS if page == MIGRATION else set())
    assert mentioned - known_options - foreign == set()


def test_every_option_of_the_published_scripts_has_its_place() -> None:
    described = set(first_names(MIGRATION.read_text()))
    assert described >= TINYBERT_OPTIONS


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_exist(page: Path) -> None:
    text = page.read_text()
    written = written_files(page)
    folders = "megatinybert|data_prep|launch|ds_configs|tests|benchmarks|docs"
    for path in re.findall(rf"(?<![\w/.-])((?:{folders})/[\w./-]*)", text):
        assert path in written or (REPOSITORY / path.rstrip(".")).exists(), path
    for name in re.findall(r"(?<![\w/])data/\w+\.py", text):
        assert (REPOSITORY / "megatinybert" / name).exists(), name
    for name in re.findall(r"\bzero\d(?:-\w+)?\b", text):
        assert (REPOSITORY / "ds_configs" / f"{name}.json").exists(), name
    shapes = {*shipped_students(), *(Path(path).stem for path in written)}
    assert set(re.findall(r"\b\d+L-\d+\b", text)) <= shapes


def written_defaults(page: Path, sections: Iterable[str]) -> dict[str, str]:
    """What the tables of these sections say, by the option's dotted name."""
    written = {}
    for name in sections:
        for cells in table_rows(section(page, name)):
            if cells[0].startswith("`--"):
                assert cells[0].startswith(f"`--{name}"), cells[0]
                written[cells[0].strip("`").removeprefix("--")] = cells[1].strip("`")
    return written


def check_defaults(written: dict[str, str], defaults: dict[str, Any]) -> None:
    for name, text in written.items():
        default = defaults[name]
        if default is ...:
            assert text == "required", name
        elif isinstance(default, str):
            assert text == default, name
        else:
            assert json.loads(text) == json.loads(json.dumps(default)), name


def test_every_option_stands_in_its_section_with_its_default() -> None:
    defaults = options(GeneralConfig)
    written = written_defaults(GENERAL, dict.fromkeys(name.split(".")[0] for name in defaults))
    assert written.keys() == defaults.keys()
    check_defaults(written, defaults)


def test_every_option_of_task_distillation_has_its_default_there_or_is_that_of_general_distillation() -> None:
    defaults, of_general = options(TaskConfig), options(GeneralConfig)
    headings = re.findall(r"^### (\S+)$", section(TASK, "Options"), re.M)
    written = written_defaults(TASK, headings)
    for cells in table_rows(section(TASK, ", ".join(STAGES))):
        name = cells[0].strip("`")
        if name in StageConfig.model_fields:
            values = zip(STAGES, cells[1:], strict=False)
            written |= {f"{stage}.{name}": value.strip("`") for stage, value in values}
        elif name.startswith("--"):
            written[name.removeprefix("--")] = cells[1].strip("`")
    assert written.keys() <= defaults.keys()
    check_defaults(written, defaults)
    rest = defaults.keys() - written.keys()
    assert {name: defaults[name] for name in rest} == {name: of_general[name] for name in rest}
    referred_to = set(re.findall(r"general\.md#(\w+)\)", section(TASK, "Options")))
    assert {name.split(".")[0] for name in rest} <= referred_to


def test_shapes_are_described_as_they_are() -> None:
    for cells in table_rows(section(GENERAL, "student")):
        if cells[0].strip("`") in shipped_students():
            shape = json.loads((REPOSITORY / "megatinybert" / "students" / f"{cells[0].strip('`')}.json").read_text())
            layers, width = cells[1].split(" × ")  # noqa: RUF001 - as the page has it
            assert [int(layers), int(width)] == [shape["num_hidden_layers"], shape["hidden_size"]]
            assert cells[2:4] == [str(shape["num_attention_heads"]), f"{shape['intermediate_size']:,}"]
    assert set(shipped_students()) <= set(first_names(section(GENERAL, "student")))


def test_metrics_output_and_conditions_of_resuming_are_those_of_a_run(golden_run: Path) -> None:
    rows = metrics(golden_run)
    tags = {tag for row in rows for tag in row} - {"step"}
    described = {tag.format(i=layer) for tag in first_names(section(GENERAL, "Metrics")) for layer in range(2)}
    assert described == tags
    for name in first_names(section(GENERAL, "Output"))[1:]:
        assert (golden_run / name).exists(), name
    state = json.loads((golden_run / "checkpoints" / "step-00000020" / "state.json").read_text())
    assert set(first_names(section(RESUME, "What must agree"))) == state["facts"].keys()


def messages() -> Iterator[str]:
    """Every text in the library, with … for values, and the launch files."""
    for path in (REPOSITORY / "megatinybert").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr):
                yield "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value
    yield from (path.read_text() for path in (REPOSITORY / "launch").glob("*.sh"))


def test_messages_are_those_of_the_program() -> None:
    known = list(messages())
    fragments = first_names(section(TROUBLESHOOT, "Messages"))
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
    lines = next(b.text for b in blocks(ARCHITECTURE) if b.text.startswith("general, task,")).splitlines()
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
                table_of_names = (own, node.module) == ("general_schema", "megatinybert.objectives")
                assert module == own or table_of_names or level[module] > level[own], f"{path} imports {module}"
    names = {path.stem for path in library.iterdir() if not path.name.startswith("__")}
    assert level.keys() == names - {"students"}


def test_no_figure_is_left_to_be_filled_in() -> None:
    for page in PAGES:
        assert "{{" not in page.read_text(encoding="utf-8"), page


def test_every_page_is_reached_from_the_readme() -> None:
    reached = {
        (README.parent / target).resolve() for target in re.findall(r"\]\((docs/[\w-]+\.md)", README.read_text())
    }
    assert reached == set(DOCS.glob("*.md"))
