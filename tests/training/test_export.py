"""The exported student: loaded by plain Transformers, equal to the trained weights, with nothing of ours in it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModel, BertConfig, BertModel

from megatinybert.config.deepspeed import load_ds_config
from megatinybert.config.general import GeneralConfig
from megatinybert.config.load import load_config
from megatinybert.models.capture import run_captured
from megatinybert.models.configuration import read_bert_config
from megatinybert.models.load import load_teacher
from megatinybert.runtime.dist import World
from megatinybert.runtime.trainees import Trainees
from megatinybert.training.checkpoints import checkpoint
from megatinybert.training.engine import DeepSpeedEngine, build_engine
from megatinybert.training.export import export_objective, export_student, full_weights
from megatinybert.training.step import rank_micro_batches, train_step
from megatinybert.training.trainee import build_trainee
from tests.helpers.toys import REPOSITORY, environment, recipe, write_student_shape
from tests.scripts.golden import STEPS, golden_options

BATCH = {"input_ids": torch.arange(2, 66).reshape(4, 16), "token_type_ids": torch.arange(64).reshape(4, 16) % 2}

# Run where the package cannot be imported: everything it needs must be in the folder.
STRANGER = """
import json, sys
sys.modules["megatinybert"] = None
import torch
from transformers import AutoModel, AutoTokenizer
model, tokenizer = AutoModel.from_pretrained("student"), AutoTokenizer.from_pretrained("student")
words = tokenizer("w1 w2 w3", return_tensors="pt")
with torch.no_grad():
    states = model(**words).last_hidden_state
print(json.dumps({"class": type(model).__name__, "ids": words["input_ids"].tolist(), "shape": list(states.shape),
                  "finite": bool(states.isfinite().all())}))
"""


def engine_of(options: list[str], world: World) -> tuple[GeneralConfig, DeepSpeedEngine]:
    config = load_config(options)
    trainee = build_trainee(config, read_bert_config(config.teacher.model, "--teacher.model"))
    return config, build_engine(trainee, config.optimizer, load_ds_config(config.deepspeed, config, world.size))


def exported(folder: Path) -> dict[str, Tensor]:
    """The exported weights without the pooler, which no distillation trains."""
    weights = load_file(folder / "model.safetensors")
    return {name: weight for name, weight in weights.items() if not name.startswith("pooler.")}


def test_a_stranger_loads_the_student(golden_run: Path, tmp_path: Path) -> None:
    variables = {name: value for name, value in environment().items() if name != "PYTHONPATH"}
    (tmp_path / "student").symlink_to(golden_run / "student")
    command = [sys.executable, "-c", STRANGER]
    done = subprocess.run(
        command, cwd=tmp_path, env=variables, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "class": "BertModel",
        "ids": [[2, 6, 7, 8, 3]],
        "shape": [1, 5, 12],
        "finite": True,
    }


def test_the_folder_holds_a_student_and_nothing_of_ours(golden_run: Path) -> None:
    names = load_file(golden_run / "student" / "model.safetensors").keys()
    assert not [name for name in names if "projection" in name or "objective" in name or "student." in name]
    model, report = AutoModel.from_pretrained(golden_run / "student", output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"]
    assert model.config.architectures == ["BertModel"] and model.config.num_hidden_layers == 2
    assert "megatinybert_capture" not in (golden_run / "student" / "config.json").read_text()
    files = {str(path.relative_to(golden_run / "student")) for path in (golden_run / "student").rglob("*.*")}
    assert files == {
        "README.md",
        "config.json",
        "loss.png",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
        "modules.json",
        "sentence_bert_config.json",
        "1_Pooling/config.json",
        "2_Dense/config.json",
        "2_Dense/model.safetensors",
    }


def test_the_folder_says_nothing_of_this_machine(golden_run: Path, toy_inputs: Path) -> None:
    """It can be published: no path of ours, and no word on how the tokenizer was found."""
    files = [path for path in (golden_run / "student").rglob("*") if path.is_file()]
    assert len(files) == 11
    for file in files:
        content = file.read_bytes()
        for folder in (golden_run, toy_inputs, REPOSITORY, Path.home()):
            assert str(folder).encode() not in content, (file, folder)
    tokenizer = json.loads((golden_run / "student" / "tokenizer_config.json").read_text())
    assert tokenizer.keys() & {"is_local", "local_files_only", "name_or_path", "_name_or_path"} == set()
    assert tokenizer["tokenizer_class"] == "BertTokenizer" and tokenizer["do_lower_case"] is True
    assert json.loads((golden_run / "student" / "config.json").read_text()).get("_name_or_path", "") == ""


def test_the_student_is_the_trained_one(world: World, toy_inputs: Path, golden_run: Path) -> None:
    """Weights and hidden states equal those of the run's last checkpoint."""
    _, engine = engine_of(golden_options(toy_inputs, golden_run), world)
    checkpoint.load(golden_run / "checkpoints" / f"step-{STEPS:08d}", Trainees({"student": engine}))
    found, expected = exported(golden_run / "student"), full_weights(engine, engine.module.student)
    assert found.keys() == expected.keys()
    for name, weight in expected.items():
        assert torch.equal(found[name], weight), name
    engine.eval()
    with torch.no_grad():
        trained = run_captured(engine.module.student, BATCH).hidden_states
        loaded = AutoModel.from_pretrained(golden_run / "student").eval()(**BATCH, output_hidden_states=True)
    assert len(trained) == 3
    for a, b in zip(loaded.hidden_states, trained, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("ds_config", ["zero1-bf16", "zero2-bf16"])
def test_the_exported_weights_are_the_optimizers_float32_ones(
    world: World, toy_inputs: Path, tmp_path: Path, ds_config: str
) -> None:
    """In bf16 the module holds rounded weights; the ones that were summed up in float32 are exported."""
    from megatinybert.corpus.tokenizer import load_tokenizer, special_ids
    from megatinybert.samples.open import open_windows

    config, engine = engine_of(recipe(toy_inputs, deepspeed=ds_config), world)
    special = special_ids(load_tokenizer(config.teacher.model))
    windows, _ = open_windows(config.data, 0, special, special.vocab_size, "", 0.5)
    teacher = load_teacher(config.teacher.model, 4, torch.float32, world.device)
    for step in range(3):
        batches = rank_micro_batches(windows, step, config.run.global_batch, 4, world)
        train_step(Trainees({"student": engine}), teacher, batches, step, 0, {"student": 0.01})
    export_student(engine, tmp_path / "student", config.teacher.model, world)
    export_objective(engine, tmp_path / "objective.safetensors", config.objective, 16, world)

    # DeepSpeed's own flat copies, taken apart by the order of its parameter groups.
    optimizer, master = engine.optimizer, {}
    names = {id(parameter): name for name, parameter in engine.module.named_parameters()}
    for parameters, flat in zip(optimizer.bit16_groups, optimizer.single_partition_of_fp32_groups, strict=True):
        at = 0
        for parameter in parameters:
            master[names[id(parameter)]] = flat[at : at + parameter.numel()].reshape(parameter.shape)
            at += parameter.numel()
    weights = {f"student.{name}": weight for name, weight in exported(tmp_path / "student").items()}
    weights |= {f"objective.{name}": w for name, w in load_file(tmp_path / "objective.safetensors").items()}
    assert weights.keys() == master.keys()
    rounded = 0
    for name, weight in weights.items():
        assert weight.dtype == torch.float32
        assert torch.equal(weight, master[name].detach()), name
        rounded += torch.equal(weight, weight.bfloat16().float())
    assert rounded < 5


def test_first_weights_from_the_teachers_layers(toy_inputs: Path, tmp_path: Path) -> None:
    shape = write_student_shape(tmp_path / "shape", layers=2, hidden=24)
    options = recipe(toy_inputs, **{"student.config": shape, "student.init": "teacher"})
    student = build_trainee(load_config(options), BertConfig.from_pretrained(toy_inputs / "teacher")).student
    teacher = BertModel.from_pretrained(toy_inputs / "teacher").state_dict()
    for name, weight in student.state_dict().items():
        source = name.replace("layer.0.", "layer.1.") if "layer.0." in name else name.replace("layer.1.", "layer.3.")
        assert torch.equal(weight, teacher[source]), name


def test_first_weights_from_a_folder(toy_inputs: Path, golden_run: Path) -> None:
    """A student may go on from an exported one, to the bit."""
    options = recipe(toy_inputs, **{"student.init": golden_run / "student", "run.seed": 5})
    student = build_trainee(load_config(options), BertConfig.from_pretrained(toy_inputs / "teacher")).student
    weights = exported(golden_run / "student")
    assert weights.keys() == dict(student.named_parameters()).keys()
    for name, parameter in student.named_parameters():
        assert torch.equal(parameter, weights[name]), name
