"""Configurations of foreign model folders run no code."""

from __future__ import annotations

import builtins
import json
from pathlib import Path

import pytest

from megatinybert.models.configuration import read_bert_config
from megatinybert.models.load import load_encoder
from megatinybert.programs.report import measure_models
from tests.helpers.toys import write_student_shape, write_teacher

CODE = """
from pathlib import Path
from transformers import BertConfig
Path(__file__).with_name("ran").touch()
class EvilConfig(BertConfig):
    model_type = "evil"
"""


def _edit(folder: Path, **settings: object) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | settings))


def test_code_in_a_model_folder_is_neither_asked_for_nor_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(builtins, "input", lambda prompt="": asked.append(prompt) or "y")
    folder = write_teacher(tmp_path / "model")
    _edit(folder, model_type="evil", auto_map={"AutoConfig": "code.EvilConfig"})
    (folder / "code.py").write_text(CODE)
    for read in (read_bert_config, load_encoder):
        with pytest.raises(ValueError, match="evil model with code of its own, which is never run") as refusal:
            read(str(folder), "--teacher.model")
        assert "\n" not in str(refusal.value)
    with pytest.raises(ValueError, match="code of its own"):
        measure_models(None, folder)
    assert not asked
    assert not list(tmp_path.rglob("ran"))


@pytest.mark.parametrize(
    "settings",
    [
        {"_attn_implementation": "evil/kernel"},
        {"attn_implementation": {"": "evil/kernel"}},
        {"text_config": {"attn_implementation": "evil/kernel"}},
        {"_attn_implementation_internal": "evil/kernel"},
        {"experts_implementation": "evil/kernel"},
    ],
)
def test_kernels_that_a_configuration_names_are_not_taken(tmp_path: Path, settings: dict[str, object]) -> None:
    folder = write_student_shape(tmp_path / "shape")
    _edit(folder, **settings)
    config = read_bert_config(str(folder), "--student.config")
    assert config._attn_implementation is None
    assert "evil" not in json.dumps(config.to_dict())


@pytest.mark.parametrize("key", ["quantization_config", "compression_config"])
def test_quantized_weights_are_refused(tmp_path: Path, key: str) -> None:
    folder = write_teacher(tmp_path / "model")
    _edit(folder, **{key: {"quant_method": "bitsandbytes", "load_in_8bit": True}})
    for read in (read_bert_config, load_encoder):
        with pytest.raises(ValueError, match=f"--teacher.model.*{key} in its config.json: only weights that are not"):
            read(str(folder), "--teacher.model")


def test_an_adapter_is_refused(tmp_path: Path) -> None:
    folder = write_teacher(tmp_path / "model")
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "elsewhere"}')
    with pytest.raises(ValueError, match="this is an adapter"):
        load_encoder(str(folder), "--teacher.model")
