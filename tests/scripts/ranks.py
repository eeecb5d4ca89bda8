"""Train a toy student in every ZeRO stage and precision, and write what came out, for comparison of rank counts.

    DS_ACCELERATOR=cpu PYTHONPATH=. deepspeed --num_accelerators N tests/scripts/ranks.py FOLDER OPTIONS...

OPTIONS are those of general distillation; --deepspeed and the optimizer are set here. Rank 0 writes FOLDER/NAME.pt for
each case what `train` returns. One rank alone trains at stage 0 only, as the reference for the others.
"""

from __future__ import annotations

import json
import pathlib
import sys
from typing import Any

import torch
from deepspeed.accelerator import get_accelerator
from deepspeed.runtime.engine import DeepSpeedEngine
from deepspeed.utils import safe_get_full_grad
from torch import Tensor

from megatinybert.config.deepspeed import load_ds_config
from megatinybert.config.general import GeneralConfig
from megatinybert.config.load import load_config, resolve_batch
from megatinybert.corpus.tokenizer import load_tokenizer, special_ids, tokenizer_fingerprint
from megatinybert.models.configuration import read_bert_config
from megatinybert.models.load import load_teacher, teacher_dtype
from megatinybert.runtime import dist
from megatinybert.runtime.trainees import Trainees
from megatinybert.samples.open import open_windows
from megatinybert.training.engine import build_engine
from megatinybert.training.export import export_student, full_weights
from megatinybert.training.schedule import learning_rate
from megatinybert.training.step import loss_scale, rank_micro_batches, train_step
from megatinybert.training.trainee import build_trainee

WORLD = dist.start()
STAGES = (0, 1, 2, 3)


def train(config: GeneralConfig, steps: int, export_to: pathlib.Path | None = None) -> dict[str, Any]:
    """Take `steps` steps by the product's own functions.

    Returns tensors by weight: "gradients" (averaged over ranks; of the last step), "before" and "parameters" (float32);
    and values for each step: "norms" (before clipping), "losses", "scales" (also the first), "rates".
    """
    settings = load_ds_config(config.deepspeed, config, WORLD.size)
    micro_batch, _ = resolve_batch(config, WORLD.size)
    teacher_config = read_bert_config(config.teacher.model, "--teacher.model")
    trainee = build_trainee(config, teacher_config)
    dtype = teacher_dtype(config.teacher.dtype, WORLD.device)
    teacher = load_teacher(config.teacher.model, trainee.objective.teacher_layers, dtype, WORLD.device)
    tokenizer = load_tokenizer(config.teacher.model)
    windows, _ = open_windows(
        config.data,
        config.run.seed,
        special_ids(tokenizer),
        teacher_config.vocab_size,
        tokenizer_fingerprint(tokenizer),
        config.data.pair_probability,
    )
    engine = build_engine(trainee, config.optimizer, settings)
    before = full_weights(engine, engine.module.student)
    gradients: dict[str, Tensor] = {}
    _record_gradients(engine, gradients)
    norms, losses, scales, rates = [], [], [loss_scale(engine)], []
    for step in range(steps):
        rate = {"student": learning_rate(config.optimizer, config.schedule, step, steps)}
        batches = rank_micro_batches(windows, step, config.run.global_batch, micro_batch, WORLD)
        result = train_step(Trainees({"student": engine}), teacher, batches, step, config.run.seed, rate)["student"]
        norms.append(float(result.gradient_norm))
        losses.append(WORLD.mean(result.losses)[0].item())
        scales.append(loss_scale(engine))
        rates.append({group["lr"] for group in engine.optimizer.param_groups})
    if export_to:
        export_student(engine, export_to, config.teacher.model, WORLD)
    parameters = full_weights(engine, engine.module.student)
    engine.destroy()
    return {
        "gradients": gradients,
        "before": before,
        "parameters": parameters,
        "norms": norms,
        "losses": losses,
        "scales": scales,
        "rates": rates,
    }


def _record_gradients(engine: DeepSpeedEngine, into: dict[str, Tensor]) -> None:
    """Note the averaged gradients of every step, after the last backward and before the update."""
    step = engine.step

    def noting_step() -> None:
        if engine.is_gradient_accumulation_boundary():
            for name, parameter in engine.module.named_parameters():
                gradient = parameter.grad if engine.zero_optimization_stage() == 0 else safe_get_full_grad(parameter)
                if gradient is not None:
                    into[name] = gradient.detach().float().clone()
        step()

    engine.step = noting_step


def write_ds_config(path: pathlib.Path, stage: int, precision: str = "fp32", initial_scale_power: int = 8) -> None:
    content: dict[str, Any] = {"zero_optimization": {"stage": stage}}
    if precision != "fp32":
        content[precision] = {"enabled": True}
    if precision == "fp16":
        content["fp16"] |= {"initial_scale_power": initial_scale_power, "hysteresis": 1}
    path.write_text(json.dumps(content))


def main() -> None:
    arguments = [argument for argument in sys.argv[1:] if not argument.startswith("--local_rank")]
    folder, options = pathlib.Path(arguments[0]), arguments[1:]
    # The CPU accelerator of DeepSpeed refuses fp16 for want of fast instructions; torch computes it all the same.
    get_accelerator().is_fp16_supported = lambda: True

    def case(name: str, steps: int, overrides: list[str], export: bool = False, **ds: Any) -> None:
        ds_config = folder / f"{name}.json"
        if WORLD.is_main:
            write_ds_config(ds_config, **ds)
        WORLD.barrier()
        config = load_config([*options, *overrides, "--deepspeed", str(ds_config)])
        result = train(config, steps, folder / f"{name}-student" if export else None)
        if WORLD.is_main:
            torch.save(result, folder / f"{name}.pt")

    sgd = ["--optimizer.name", "sgd", "--schedule.type", "constant", "--schedule.warmup_steps", "0"]
    for stage in STAGES if WORLD.size > 1 else (0,):
        case(f"sgd-{stage}", 1, sgd, stage=stage, export=stage in (0, 3))
        case(f"adamw-{stage}", 4, [], stage=stage)
    case("muon-0", 4, ["--optimizer.name", "muon"], stage=0)
    if WORLD.size > 1:
        for precision in ("bf16", "fp16"):
            for stage in STAGES[1:]:
                case(f"{precision}-{stage}", 12, [], stage=stage, precision=precision)
        case("skipped", 1, [], stage=2, precision="fp16", initial_scale_power=24)
        case("overflow", 12, [], stage=2, precision="fp16", initial_scale_power=24)
    dist.stop()


if __name__ == "__main__":
    main()
