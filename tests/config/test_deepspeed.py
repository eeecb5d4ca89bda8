"""DeepSpeed configurations: what is filled in, and what is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from megatinybert.config.deepspeed import find_ds_config, load_ds_config
from megatinybert.config.load import ConfigError, GeneralConfig
from megatinybert.config.shipped import REPOSITORY

SHIPPED = sorted(path.stem for path in (REPOSITORY / "ds_configs").glob("zero*.json"))
CONFIG = GeneralConfig.model_validate(
    {
        "teacher": {"model": "t"},
        "data": {"shards": "d"},
        "optimizer": {"name": "adamw"},
        "run": {"global_batch": 64, "micro_batch": 8},
    }
)


def write(tmp_path: Path, content: Any) -> str:
    path = tmp_path / "ds.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return str(path)


def refusal(tmp_path: Path, content: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        load_ds_config(write(tmp_path, content), CONFIG, world_size=2)
    return str(caught.value)


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_files_say_what_their_names_say(name: str) -> None:
    settings = load_ds_config(name, CONFIG, world_size=2)
    stage, _, precision = name.removeprefix("zero").partition("-")
    assert settings.stage == int(stage)
    assert settings.precision == {"": "fp32", "autocast": "bf16-autocast"}.get(precision, precision)
    assert "auto" not in settings.raw.values()
    written = json.loads((REPOSITORY / "ds_configs" / f"{name}.json").read_text())
    assert [key for key, value in written.items() if value == "auto"] == [
        *(
            "train_batch_size",
            "train_micro_batch_size_per_gpu",
            "gradient_accumulation_steps",
            "gradient_clipping",
        )
    ]
    assert f"`{name}`" in (REPOSITORY / "ds_configs" / "README.md").read_text()


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_muon_needs_whole_matrices(stage: int) -> None:
    config = CONFIG.model_copy(update={"optimizer": CONFIG.optimizer.model_copy(update={"name": "muon"})})
    if stage == 0:
        assert load_ds_config("zero0", config, world_size=2).stage == 0
        return
    with pytest.raises(
        ConfigError, match=rf"stage {stage} divides matrices .* --optimizer.name muon .* zero0-autocast"
    ):
        load_ds_config(f"zero{stage}", config, world_size=2)


def test_deepspeed_itself_accepts_the_shipped_files() -> None:
    """In a process of its own, as importing DeepSpeed chooses an accelerator for good."""
    program = (
        "import json, sys\n"
        "from deepspeed.runtime.config import DeepSpeedConfig\n"
        "for raw in json.load(sys.stdin): DeepSpeedConfig(raw)\n"
    )
    raws = [load_ds_config(name, CONFIG, world_size=1).raw for name in SHIPPED]
    subprocess.run([sys.executable, "-c", program], input=json.dumps(raws), text=True, check=True, capture_output=True)


def test_automatic_values_come_from_the_recipe(tmp_path: Path) -> None:
    raw = load_ds_config(write(tmp_path, {"gradient_clipping": "auto"}), CONFIG, world_size=2).raw
    assert raw == {
        "train_batch_size": 64,
        "train_micro_batch_size_per_gpu": 8,
        "gradient_accumulation_steps": 4,
        "gradient_clipping": 1.0,
    }


def test_equal_numbers_pass_and_others_name_both_sides(tmp_path: Path) -> None:
    load_ds_config(write(tmp_path, {"train_batch_size": 64, "gradient_clipping": 1}), CONFIG, world_size=2)
    content = {"train_batch_size": 32, "gradient_accumulation_steps": 1, "gradient_clipping": True}
    message = refusal(tmp_path, content)
    assert "train_batch_size 32 is not --run.global_batch 64" in message
    assert "gradient_accumulation_steps 1 is not --run.global_batch / (--run.micro_batch x ranks) 4" in message
    assert "gradient_clipping true is not --optimizer.gradient_clipping 1.0" in message
    assert "ds.json" in message


def test_unknown_keys_and_blocks_of_the_recipe(tmp_path: Path) -> None:
    message = refusal(tmp_path, {"zero_optimisation": {}, "optimizer": {}, "scheduler": {}, "hybrid_engine": {}})
    assert "did you mean zero_optimization?" in message
    assert "use --optimizer.*" in message and "use --schedule.*" in message
    assert "hybrid_engine: no such key, or one without meaning here" in message


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_weights_need_zero(tmp_path: Path, precision: str) -> None:
    content = {precision: {"enabled": True}, "zero_optimization": {"stage": 0}}
    assert "use stage 1 or more" in refusal(tmp_path, content)
    assert "use stage 1 or more" in refusal(tmp_path, {precision: {"enabled": True}})
    content["zero_optimization"] = {"stage": 1}
    assert load_ds_config(write(tmp_path, content), CONFIG, world_size=2).precision == precision


@pytest.mark.parametrize(
    ("content", "part"),
    [
        ({"bf16": {"enabled": True}, "fp16": {"enabled": True}}, "bf16 and fp16 are enabled together"),
        (
            {"bf16": {"enabled": True}, "torch_autocast": {"enabled": True}},
            "bf16 and torch_autocast are enabled",
        ),
        ({"torch_autocast": {"enabled": True, "dtype": "float16"}}, 'torch_autocast.dtype "float16"'),
        ({"torch_autocast": {"enabled": True}}, "torch_autocast.dtype null"),
        ({"bf16": {"enabled": "auto"}}, 'bf16.enabled "auto": must be true or false'),
        ({"zero_optimization": {"stage": 4}}, "stage 4: must be 0, 1, 2 or 3"),
        ({"zero_optimization": {"stage": True}}, "stage true: must be"),
        ({"zero_optimization": True}, "zero_optimization true: must be an object"),
        ("{", "cannot be read as JSON"),
        ("[" * 100_000, "cannot be read as JSON: maximum recursion depth exceeded"),
        ('{"bf16": {}, "bf16": {}}', "given twice: bf16"),
        ("[]", "must hold a JSON object"),
    ],
)
def test_refused_files(tmp_path: Path, content: Any, part: str) -> None:
    assert part in refusal(tmp_path, content)


def test_where_the_file_is_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shipped = REPOSITORY / "ds_configs" / "zero1.json"
    assert find_ds_config("ds_configs/zero1.json") == find_ds_config("zero1") == shipped
    (tmp_path / "ds_configs").mkdir()
    (tmp_path / "ds_configs" / "zero1.json").write_text("{}")
    assert find_ds_config("ds_configs/zero1.json").resolve() == (tmp_path / "ds_configs" / "zero1.json").resolve()
    with pytest.raises(ConfigError, match=r"--deepspeed ds_configs/zero1-bf61\.json: .* did you mean zero1-bf16\?"):
        find_ds_config("ds_configs/zero1-bf61.json")


def test_a_typo_of_auto_is_told() -> None:
    with pytest.raises(ConfigError, match=r"--deepspeed atuo: .* did you mean auto\?"):
        find_ds_config("atuo")
