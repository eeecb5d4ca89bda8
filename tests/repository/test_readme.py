"""What README and docs say is so: links lead somewhere, options, files, metrics and messages exist.

tests/repository/test_docs.py has their commands, test_option_tables.py their tables of options.
"""

from __future__ import annotations

import ast
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from torch.distributed import run as torchrun

from megatinybert.config.augment import AUGMENT
from megatinybert.config.general import GENERAL as GENERAL_PROGRAM
from megatinybert.config.load import load_config
from megatinybert.config.schema import STUDENTS_FOLDER, shipped_students
from megatinybert.config.shards import SHARDS
from megatinybert.config.task import TASK as TASK_PROGRAM
from megatinybert.corpus.vocabulary import Vocabulary
from megatinybert.programs.general_options import facts_of_options
from megatinybert.training.other_text import FILES, NAMED
from megatinybert.training.placement import PLACEMENT, THREADS
from megatinybert.training.rates import RATES
from tests.helpers.page_inputs import CHINESE_TEACHER, TEACHER
from tests.helpers.pages import (
    CHINESE_README,
    DOCS,
    PAGES,
    README,
    CodeBlock,
    blocks,
    first_names,
    prose,
    section,
    table_rows,
    written_files,
)
from tests.helpers.toys import REPOSITORY, environment, metrics
from tests.scripts.option_tables import options_of

GENERAL, MIGRATION, RESUME, TROUBLESHOOT = (
    DOCS / f"{name}.md" for name in ("general", "migration", "resume", "troubleshoot")
)
# Of programs that are not here.
FOREIGN_OPTIONS = {
    *("--nodes", "--ntasks-per-node", "--gpus-per-node", "--logdir", "--host", "--no-deps", "--section"),
    *("--signal", "--head", "--address", "--port", "--include-dashboard", "--local-dir"),
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


# What the Chinese page has in place of the English one's models, data and texts; all else in its blocks is the same.
CHINESE_EXAMPLES = {
    TEACHER: CHINESE_TEACHER,
    "data/reviews": "data/评论",
    "Who wrote the letter?": "这封信是谁写的？",  # noqa: RUF001 - as the page has it
    "A sentence.": "今天天气很好。",
    "Another one.": "我们去公园散步。",
    "A fine film.": "这部电影很好看。",
    "a fine film": "这部电影很好看",
    "a dull film": "这部电影太闷了",
}


def test_both_languages_say_the_same() -> None:
    assert not [example for example in CHINESE_EXAMPLES if not any(example in block.text for block in blocks(README))]
    examples = re.compile("|".join(map(re.escape, CHINESE_EXAMPLES)))
    translated = [
        CodeBlock(block.language, examples.sub(lambda found: CHINESE_EXAMPLES[found[0]], block.text))
        for block in blocks(README)
    ]
    assert blocks(CHINESE_README) == translated

    def levels(page: Path) -> list[str]:
        return re.findall(r"^(#+|-|\|) ", prose(page), re.M)

    def targets(page: Path) -> list[str]:
        return [target for target in re.findall(r"\]\(([^)]+)\)", page.read_text()) if "README." not in target[:7]]

    def options(page: Path) -> set[str]:
        return set(re.findall(r"(?<![\w-])--[a-zA-Z][\w.-]*\w", prose(page)))

    assert levels(CHINESE_README) == levels(README)
    assert targets(CHINESE_README) == targets(README)
    assert options(CHINESE_README) == options(README)


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


def test_what_commands_of_the_readme_write_is_ignored_by_git() -> None:
    ignored = re.findall(r"^/([\w-]+)(?:/|-\*)?$", (REPOSITORY / ".gitignore").read_text(), re.M)
    for page in (README, DOCS / "task.md", DOCS / "task-data.md"):
        text = "\n".join(block.text for block in blocks(page))
        written = re.findall(r"(?:> |--output |--predict\.output |--run\.output_dir )([\w.][\w./-]*)", text)
        assert written, page
        assert [path for path in written if re.split("[/-]", path)[0] not in ignored] == [], page


def test_the_teacher_that_warnings_name_for_chinese_is_that_of_the_recipe() -> None:
    recipe = (REPOSITORY / "launch" / "recipes" / "chinese-4l.yaml").read_text()
    warning = Vocabulary(Tokenizer(WordPiece({"[UNK]": 0}, unk_token="[UNK]")), "bert").unknowns(1, 2)
    assert warning
    name, page = re.findall(r"for Chinese (\S+), say: (\S+)\)", warning)[0]
    assert f"model: {name}\n" in recipe and "## Chinese" in (REPOSITORY / page.partition("#")[0]).read_text()


@pytest.fixture(scope="module")
def known_options() -> set[str]:
    """Every option of the launchers, of our scripts and of the Makefile's tools, by their own help and source."""
    help_text = subprocess.run(
        ["deepspeed", "--help"], env=environment(), capture_output=True, text=True, check=True
    ).stdout
    ours = [
        REPOSITORY / "Makefile",
        *(REPOSITORY / "data_prep").glob("*.py"),
        *(REPOSITORY / "megatinybert").glob("*.py"),
        *(REPOSITORY / "megatinybert" / "config").glob("*.py"),
        *(REPOSITORY / "benchmarks").glob("*.py"),
    ]
    texts = [help_text, torchrun.get_args_parser().format_help(), *(path.read_text() for path in ours)]
    named = [name for program in (GENERAL_PROGRAM, TASK_PROGRAM, SHARDS, AUGMENT) for name in options_of(program)]
    return {f"--{name}" for name in named} | set(re.findall(r"--[a-zA-Z][\w-]*", " ".join(texts)))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_options_exist(page: Path, known_options: set[str]) -> None:
    mentioned = set(re.findall(r"(?<![\w-])--[a-zA-Z][\w-]*(?:\.[a-z_][a-z_0-9]*)?", page.read_text())) - {
        "--section.key"
    }
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
    for name in re.findall(r"\bzero\d(?:-\w+)?\b", text):
        assert (REPOSITORY / "ds_configs" / f"{name}.json").exists(), name
    shapes = {*shipped_students(), *(Path(path).stem for path in written)}
    assert set(re.findall(r"\b\d+L-\d+\b", text)) <= shapes


def test_shapes_are_described_as_they_are() -> None:
    for cells in table_rows(section(GENERAL, "student")):
        if cells[0].strip("`") in shipped_students():
            shape = json.loads((STUDENTS_FOLDER / f"{cells[0].strip('`')}.json").read_text())
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
    may_differ = {*PLACEMENT, THREADS, NAMED, FILES, RATES}
    options = ["--teacher.model", "teacher", "--data.shards", "shards", "--data.short_rows", "0.3"]
    of_some = {*facts_of_options(load_config([*options, "--student.init", "solved"]))}
    of_some |= {"objective.train_projection", "frozen weights", "frozen weights checksum"}  # by resume.training_facts
    assert set(first_names(section(RESUME, "What must agree"))) == (state["facts"].keys() | of_some) - may_differ
    may_change = set(first_names(section(RESUME, "What may change")))
    assert set(PLACEMENT) <= may_change and may_change - set(PLACEMENT) <= state["facts"].keys() | {"run.micro_batch"}


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


def test_no_figure_is_left_to_be_filled_in() -> None:
    for page in PAGES:
        assert "{{" not in page.read_text(encoding="utf-8"), page


def test_every_page_is_reached_from_the_readme() -> None:
    reached = {
        (README.parent / target).resolve() for target in re.findall(r"\]\((docs/[\w-]+\.md)", README.read_text())
    }
    assert reached == set(DOCS.glob("*.md"))


def test_the_file_that_is_answered_is_no_text_of_the_first_run() -> None:
    for page in (README, CHINESE_README):
        words = page.read_text(encoding="utf-8").split()
        patterns = {words[place + 1] for place, word in enumerate(words) if word == "--data.text"}
        answered = [words[place + 1] for place, word in enumerate(words) if word == "--predict.input"]
        assert "data/*.txt" in patterns and len(answered) == 1
        assert not [pattern for pattern in patterns if Path(answered[0]).match(pattern)]
        assert answered[0].startswith("runs/")  # which git ignores
