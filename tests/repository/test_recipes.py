"""The shipped recipes: each is understood, holds what it says, and trains; the second phase follows the first."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from transformers import AutoModel, AutoTokenizer, BertConfig, BertForPreTraining

from megatinybert.config.augment import PUBLISHED_COPIES
from megatinybert.config.deepspeed import load_ds_config
from megatinybert.config.load import GeneralConfig, load_config, load_options, resolve_batch
from megatinybert.config.schema import STUDENTS_FOLDER, shipped_students
from megatinybert.config.shards import BuildOptions
from megatinybert.config.task import TASK, TaskConfig
from megatinybert.corpus.build import build_corpus
from megatinybert.corpus.shards import open_corpus
from megatinybert.models.layer_map import resolve_layer_map
from megatinybert.programs.distil import distil
from megatinybert.runtime.dist import World
from megatinybert.tasks.stage_options import PAIR_LENGTH, SECTIONS, SINGLE_LENGTH, steps_of, training_of
from megatinybert.training.precision import settle_settings
from tests.helpers.toys import REPOSITORY, metrics, write_dataset, write_student_shape, write_teacher

RECIPES = sorted((REPOSITORY / "launch" / "recipes").glob("*.yaml"))
TASK_RECIPES = {"task-paper"}  # the others are of general distillation
NAMES = [path.stem for path in RECIPES if path.stem not in TASK_RECIPES]
OWN = {"quickstart", "solved-4l", "family"}  # the others are published ones, and keep their precision
BERT_LAYERS = 12  # of the teachers that the recipes name, and their heads
# The quickstart's teacher is a folder inside a package, which launch/quickstart.sh finds.
NOT_IN_THE_RECIPE = {"quickstart": {"teacher.model": "a MiniLM"}}


def read(name: str, **overrides: object) -> GeneralConfig:
    given = NOT_IN_THE_RECIPE.get(name, {}) | overrides
    words = [part for option, value in given.items() for part in (f"--{option}", str(value))]
    return load_config(["--config", str(REPOSITORY / "launch" / "recipes" / f"{name}.yaml"), *words])


def read_task(name: str, *more: str) -> TaskConfig:
    """With the options that the recipe leaves to its user."""
    given = (
        "--task.name",
        "cola",
        "--task.data_dir",
        "glue/CoLA",
        "--teacher.model",
        "bert",
        "--student.init",
        "runs/general",
    )
    recipe = ("--config", str(REPOSITORY / "launch" / "recipes" / f"{name}.yaml"))
    return load_options([*recipe, *given, *more], TASK)


def shape_of(student: str) -> dict[str, int]:
    return json.loads((STUDENTS_FOLDER / f"{student}.json").read_text())


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A teacher with the layers, heads and positions of BERT-base, but narrow; and a corpus."""
    folder = tmp_path_factory.mktemp("recipes")
    write_teacher(folder / "teacher", BERT_LAYERS, hidden=24, heads=12, max_position_embeddings=512)
    write_dataset(folder / "corpus", tokens=12_000)
    return folder


def train(name: str, inputs: Path, world: World, **overrides: object) -> Path:
    """Two steps of a recipe with a narrow student, in the working directory: the output folder."""
    layers = shape_of(read(name).student.config)["num_hidden_layers"]
    teacher = BertConfig.from_pretrained(inputs / "teacher")
    sizes = {"vocab_size": teacher.vocab_size, "max_position_embeddings": teacher.max_position_embeddings}
    shape = write_student_shape(inputs / f"{layers} layers", layers, hidden=12, heads=12, **sizes)
    small: dict[str, object] = {
        "teacher.model": inputs / "teacher",
        "teacher.dtype": "fp32",
        "student.config": shape,
        "data.shards": inputs / "corpus",
        "data.held_out_windows": 4,
        "run.epochs": "null",
        "run.max_steps": 2,
        "run.global_batch": 4,
        "run.log_interval": 1,
        "monitor.attention_interval": 0,
    }
    config = read(name, **small | overrides)
    distil(config, world)
    return Path(config.run.output_dir)


def test_there_are_the_recipes_of_the_documentation() -> None:
    page = (REPOSITORY / "docs" / "recipes.md").read_text()
    assert set(NAMES) == {
        "quickstart",
        "tinybert-4l",
        "tinybert-6l",
        "chinese-4l",
        "solved-4l",
        "family",
        "two-phase-128",
        "two-phase-512",
    }
    assert all(f"`{name}`" in page for name in [*NAMES, *TASK_RECIPES])
    assert {path.stem for path in RECIPES} == {*NAMES, *TASK_RECIPES}


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_is_whole_and_fits_machines_of_one_and_eight_devices(name: str, tmp_path: Path) -> None:
    # Not where `make quickstart` has left checkpoints, whose precision a run would keep.
    config = read(name, **{"run.output_dir": tmp_path})
    assert config.student.config in shipped_students()
    for ranks in (1, 8):
        micro_batch, accumulation = resolve_batch(config, ranks)
        assert micro_batch * accumulation * ranks == config.run.global_batch
        for native in (False, True):
            settings = settle_settings(config, ranks, native, World(0, 1, torch.device("cpu")))
            assert settings.stage == (0 if config.optimizer.name == "muon" else 1)
            assert settings.precision == ("bf16-autocast" if native and name in OWN else "fp32")
    student = shape_of(config.student.config)
    if name != "quickstart":
        assert student["num_attention_heads"] == BERT_LAYERS
        resolve_layer_map(config.objective.layer_map, student["num_hidden_layers"], BERT_LAYERS)


@pytest.mark.parametrize("name", [name for name in NAMES if not name.startswith(("two-phase", "family"))])
def test_a_recipe_trains(
    name: str, inputs: Path, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At its own length, with its own objective, optimizer and DeepSpeed file, to the exported student."""
    monkeypatch.chdir(tmp_path)
    output = train(name, inputs, world)
    assert [row["step"] for row in metrics(output)] == [0, 1, 2]
    assert metrics(output)[-1]["held_out/total"] != metrics(output)[0]["held_out/total"]
    assert AutoModel.from_pretrained(output / "student").config.hidden_size == 12


def test_the_recipe_of_several_students_trains_each(
    inputs: Path, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The largest in a narrow shape, the others in their own."""
    monkeypatch.chdir(tmp_path)
    output = train("family", inputs, world, **{"student.solve_tokens": 512})
    widths = {"large": 12, "medium": 312, "small": 192}
    for name, width in widths.items():
        assert [row["step"] for row in metrics(output / name)] == [0, 1, 2]
        assert AutoModel.from_pretrained(output / name / "student").config.hidden_size == width
    students = read("family").students or []
    assert [student.student.config for student in students] == ["4L-312", "3L-312", "2L-192"]
    for student in students:
        layers = shape_of(student.student.config)["num_hidden_layers"]
        assert resolve_layer_map(student.objective.layer_map, layers, BERT_LAYERS)[-1] == BERT_LAYERS - 1


@pytest.mark.parametrize(("name", "map_"), [("tinybert-4l", [2, 5, 8, 11]), ("tinybert-6l", [1, 3, 5, 7, 9, 11])])
def test_the_tinybert_recipes_hold_the_published_values(name: str, map_: list[int]) -> None:
    config = read(name)
    shape = shape_of(config.student.config)
    widths = {"tinybert-4l": (4, 312, 1200), "tinybert-6l": (6, 768, 3072)}[name]
    assert (shape["num_hidden_layers"], shape["hidden_size"], shape["intermediate_size"]) == widths
    assert resolve_layer_map(config.objective.layer_map, widths[0], BERT_LAYERS) == map_
    assert (config.run.global_batch, config.run.epochs, config.data.sequence_length) == (256, 3, 128)
    assert (config.student.hidden_dropout, config.student.attention_dropout) == (0.1, 0.1)
    optimizer, schedule = config.optimizer, config.schedule
    assert (optimizer.name, optimizer.learning_rate, optimizer.weight_decay) == ("adamw", 1e-4, 0.01)
    assert (optimizer.betas, optimizer.eps) == ((0.9, 0.999), 1e-6)
    assert (schedule.type, schedule.warmup_fraction) == ("linear", 0.1)
    assert config.objective.projection == "shared"
    assert config.objective.attention_weight == config.objective.hidden_weight == config.objective.embedding_weight == 1


def test_the_task_recipe_holds_the_published_values() -> None:
    config = read_task("task-paper")
    assert config.student.hidden_dropout == 0.1
    assert (config.finetune.epochs, config.one.epochs, config.two.epochs) == (3, 20, 3)
    assert (config.finetune.learning_rate, config.one.learning_rate, config.two.learning_rate) == (2e-5, 5e-5, 3e-5)
    assert [stage.global_batch for stage in (config.finetune, config.one, config.two)] == [32, 32, 32]
    assert (config.two.temperature, config.two.hard_label_weight) == (1, 0)
    augment = config.augment
    assert (augment.copies, augment.rows, augment.probability, augment.candidates) == ("published", 0, 0.4, 15)
    assert PUBLISHED_COPIES["cola"] == 30
    assert (config.schedule.type, config.schedule.warmup_fraction) == ("linear", 0.1)
    assert (config.optimizer.weight_decay, config.optimizer.gradient_clipping) == (0.01, 1)
    assert (SINGLE_LENGTH, PAIR_LENGTH) == (64, 128) and config.task.max_length is None
    assert steps_of(config.one, rows=8_551, tokens=10**6) == math.ceil(20 * 8_551 / 32)
    assert read_task("task-paper", "--one.epochs", "50").one.epochs == 50  # CoLA's


@pytest.mark.parametrize("ranks", [1, 8])
def test_the_task_recipe_fits_machines_of_one_and_eight_devices(ranks: int) -> None:
    config = read_task("task-paper")
    for section in SECTIONS.values():
        settings = load_ds_config(config.deepspeed, training_of(config, section, Path("stage"), max_steps=1), ranks)
        assert (settings.stage, settings.precision) == (0, "fp32")
        raw = settings.raw
        assert raw["train_micro_batch_size_per_gpu"] * raw["gradient_accumulation_steps"] * ranks == 32


def test_the_two_phases_fit_together() -> None:
    one, two = read("two-phase-128"), read("two-phase-512")
    assert two.student.init == one.run.output_dir != two.run.output_dir
    assert (one.data.sequence_length, two.data.sequence_length) == (128, 512)
    assert (one.teacher, one.objective, one.student.config) == (two.teacher, two.objective, two.student.config)
    assert one.data.shards == two.data.shards
    assert one.run.epochs / (one.run.epochs + two.run.epochs) == pytest.approx(0.9)  # an epoch has the same tokens
    tokens = [config.run.global_batch * config.data.sequence_length for config in (one, two)]
    assert tokens[0] == tokens[1]
    assert two.optimizer.learning_rate < one.optimizer.learning_rate


def test_phase_2_takes_over_what_phase_1_learnt(
    inputs: Path, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the recipes' own folders, which are relative to the working directory."""
    monkeypatch.chdir(tmp_path)
    last = metrics(train("two-phase-128", inputs, world))[-1]
    same_windows = train("two-phase-512", inputs, world, **{"data.sequence_length": 128, "run.output_dir": "runs/same"})
    assert metrics(same_windows)[0]["held_out/total"] == pytest.approx(last["held_out/total"], rel=1e-6)
    rows = metrics(train("two-phase-512", inputs, world))
    assert [row["step"] for row in rows] == [0, 1, 2]


CHINESE_VOCABULARY = 21_128  # of google-bert/bert-base-chinese, and of the teachers of chinese-4l


@pytest.fixture(scope="module")
def chinese(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """teacher/ as the Chinese teachers are published (pickled weights with heads, a bare vocab.txt); and a text."""
    folder = tmp_path_factory.mktemp("chinese")
    special = ["[PAD]", *(f"[unused{i}]" for i in range(1, 100)), "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words = ["。", "，", "？", "bert", "##s", *map(chr, range(0x4E00, 0xA000)), *(f"##{i}" for i in range(1000))]  # noqa: RUF001
    vocabulary = [*special, *words][:CHINESE_VOCABULARY]
    settings = BertConfig(
        vocab_size=CHINESE_VOCABULARY,
        hidden_size=24,
        num_hidden_layers=BERT_LAYERS,
        num_attention_heads=12,
        intermediate_size=48,
        initializer_range=0.2,
    ).to_dict()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        model = BertForPreTraining(BertConfig(**settings))
    (folder / "teacher").mkdir()
    torch.save(model.state_dict(), folder / "teacher" / "pytorch_model.bin")
    more = {"architectures": ["BertForMaskedLM"], "directionality": "bidi", "pooler_type": "first_token_transform"}
    (folder / "teacher" / "config.json").write_text(json.dumps(settings | more))
    (folder / "teacher" / "vocab.txt").write_text("\n".join(vocabulary) + "\n", encoding="utf-8")
    lines = ["".join(chr(0x4E00 + (37 * i + 101 * j) % 20_000) for j in range(20)) + "，BERTs。" for i in range(400)]  # noqa: RUF001
    (folder / "text.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def test_the_chinese_recipe_holds_for_a_teacher_as_they_are_published(
    chinese: Path, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From a sentence a line to the student: no character is lost, and the student reads as its teacher does."""
    monkeypatch.chdir(tmp_path)
    teacher = str(chinese / "teacher")
    build_corpus(
        BuildOptions(input=[str(chinese / "text.txt")], tokenizer=teacher, output=tmp_path / "shards", workers=1)
    )
    corpus = open_corpus(str(tmp_path / "shards"), "train")
    assert corpus.manifest is not None and corpus.manifest.vocab_size == CHINESE_VOCABULARY
    assert corpus.manifest.totals["train"]["documents"] + corpus.manifest.totals["validation"]["documents"] == 400
    tokens = corpus.shards[0].tokens
    unknown = 100
    assert tokens.dtype == "uint16" and not (tokens == unknown).any()

    output = train("chinese-4l", chinese, world, **{"data.shards": tmp_path / "shards"})
    student, tokenizer = (
        AutoModel.from_pretrained(output / "student"),
        AutoTokenizer.from_pretrained(output / "student"),
    )
    assert student.config.vocab_size == CHINESE_VOCABULARY
    line = (chinese / "text.txt").read_text(encoding="utf-8").splitlines()[0]
    ids = tokenizer(line)["input_ids"]
    assert len(ids) == 20 + 2 + 2 + 2  # a token for each character, bert ##s for the word; [CLS] and [SEP]
    assert unknown not in ids and ids[0] == 101 and ids[-1] == 102
    assert student(torch.tensor([ids])).last_hidden_state.shape == (1, len(ids), 12)
