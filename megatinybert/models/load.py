"""Loads the frozen teacher, builds the student."""

from __future__ import annotations

import copy
import hashlib
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from transformers import BertConfig, BertModel, PreTrainedModel
from transformers.models.bert.modeling_bert import BertPooler

from megatinybert.config.hub import first_line
from megatinybert.config.schema import Quantize
from megatinybert.models.capture import ATTENTION_NAME, Features, Wanted, run_captured
from megatinybert.models.compiled import Run, compiled_run
from megatinybert.models.configuration import read_settings
from megatinybert.models.quantize import quantize_products
from megatinybert.runtime.counts import some_of
from megatinybert.runtime.hardware import computes_bfloat16

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
UNREADABLE = (OSError, SafetensorError, UnpicklingError, EOFError, RuntimeError)  # what damaged weight files raise


class Teacher:
    """A frozen encoder in eval mode. It belongs to no student's engine: no checkpoint holds it and nothing trains it.

    is_partitioned: whether every rank holds a part of it, and all have to run it together.
    """

    is_partitioned = False

    def __init__(
        self, model: PreTrainedModel, fingerprint: str = "", quantize: Quantize = "none", checksum: str = ""
    ) -> None:
        """fingerprint, checksum: tell these weights from others, so that a run is not continued under another teacher.
        quantize: how `model` is quantized."""
        self.model = model.eval().requires_grad_(False)
        self.fingerprint, self.quantize, self.checksum = fingerprint, quantize, checksum
        self.is_kept = False  # whether training and measurements read its kept logits, and it runs no more
        self._compiled: tuple[Wanted | None, Run] | None = None

    def compile_passes(self, shape: torch.Size, wanted: Wanted | None = None) -> None:
        """Run batches of this shape of input_ids compiled from now on, where the same features are wanted."""
        self._compiled = wanted, compiled_run(self.model, shape, True, wanted)

    @torch.no_grad()  # not inference_mode: its tensors could not enter the student's loss
    def features(self, batch: dict[str, Tensor], wanted: Wanted | None = None) -> Features:
        """batch and wanted as `run_captured` takes them -> the teacher's features, in its own dtype, without a graph.

        Of a batch that holds its logits as "teacher_logits", (B, C), these alone, without a pass.
        """
        kept = batch.get("teacher_logits")
        if kept is not None:
            return Features(logits=kept)
        if self._compiled and self._compiled[0] == wanted:
            return self._compiled[1](batch)
        return run_captured(self.model, batch, wanted)


def teacher_dtype(name: str, device: torch.device, quantize: Quantize = "none") -> torch.dtype:
    """Resolve --teacher.dtype: "auto" is fp16 on CUDA, bf16 on a CPU that computes it natively, else fp32.

    With --teacher.quantize it is bf16 on CUDA devices that have it, and fp32 on a CPU, where that is fastest.
    """
    if name != "auto":
        return DTYPES[name]
    if device.type == "cuda":
        # torchao's products in 8 bits leave float16's range before they are scaled.
        wide = quantize != "none" and computes_bfloat16(device)
        return torch.bfloat16 if wide else torch.float16
    if quantize != "none":
        return torch.float32
    return torch.bfloat16 if computes_bfloat16(device) else torch.float32


def load_teacher(
    name: str, layers: int, dtype: torch.dtype, device: torch.device, quantize: Quantize = "none"
) -> Teacher:
    """Load the first `layers` layers of a BERT teacher, without pooler or head. Raises ValueError as below."""
    return load_teachers(name, [layers], dtype, device, quantize)[layers]


def load_teachers(
    name: str, depths: Iterable[int], dtype: torch.dtype, device: torch.device, quantize: Quantize = "none"
) -> dict[int, Teacher]:
    """The same for students that need several depths: by depth, one model as deep as the deepest of them.

    Fingerprint and checksum are those of so many layers alone. Raises ValueError where the weights do not fill the
    model, as a layer left at random would teach noise, or where they cannot be quantized.
    """
    model = load_encoder(name, f"--teacher.model {name}")
    wanted = sorted(set(depths))
    _cut(model, wanted[-1])
    digest, known = Digest(), {}
    for depth, part in enumerate([model.embeddings, *model.encoder.layer]):
        digest.add_all(part)
        known[depth] = digest.fingerprint, digest.checksum
    model.to(device, dtype)  # type: ignore[arg-type]
    quantize_products(model, quantize)
    return {depth: Teacher(model, known[depth][0], quantize, known[depth][1]) for depth in wanted}


class Digest:
    """Of weights in float32 on the CPU, one after the other."""

    def __init__(self) -> None:
        self._some, self._all = hashlib.sha256(), 0

    @classmethod
    def of(cls, model: nn.Module) -> Digest:
        """Of all of a model's."""
        digest = cls()
        digest.add_all(model)
        return digest

    def add_all(self, model: nn.Module) -> None:
        for weight in model.parameters():
            self.add(weight)

    def add(self, weight: Tensor, is_new: bool = True) -> None:
        """is_new: False of what goes on where the one before ended, one weight in parts of at least 256 values."""
        if is_new:
            self._some.update(weight.detach().flatten()[:256].numpy().tobytes())
        self._all = zlib.crc32(weight.detach().contiguous().numpy().data, self._all)

    @property
    def fingerprint(self) -> str:
        """A short hash of some of each weight, which tells them from others."""
        return self._some.hexdigest()[:16]

    @property
    def checksum(self) -> str:
        """CRC-32 of all of them, in hex."""
        return f"{self._all:08x}"


def build_student(config: BertConfig) -> BertModel:
    """A student with random weights (from torch's generator), in float32, without pooler."""
    config = copy.deepcopy(config)
    config._attn_implementation = ATTENTION_NAME
    return BertModel(config, add_pooling_layer=False)


@dataclass(frozen=True)
class Size:
    """Parameters of a model and its bytes in float32."""

    parameters: int
    bytes: int


def count_of(parameters: Iterable[nn.Parameter]) -> int:
    """How many numbers they hold, over all ranks: where ZeRO stage 3 has partitioned them, none are in place."""
    return sum(getattr(parameter, "ds_numel", parameter.numel()) for parameter in parameters)


def size_of(model: nn.Module) -> Size:
    parameters = count_of(model.parameters())
    return Size(parameters, 4 * parameters)


def size_as_saved(model: PreTrainedModel) -> Size:
    """The size of a model as its folder holds it and AutoModel loads it: an encoder has its pooler there, which
    distillation neither uses nor trains. This is the count that people are told.
    """
    count = size_of(model).parameters
    if isinstance(model, BertModel) and model.pooler is None:
        with torch.device("meta"):  # counts weights without making them
            count += size_of(BertPooler(model.config)).parameters
    return Size(count, 4 * count)


def load_encoder(name: str, option: str) -> BertModel:
    """A BERT encoder in float32, without pooler or head. Raises ValueError as `load_model` does."""
    return load_model(BertModel, name, option, add_pooling_layer=False)


def load_model(kind: type[PreTrainedModel], name: str, option: str, may_lack: str = "", **settings: Any) -> Any:
    """A model of a BERT class in float32 with every weight from its files; the library would fill holes with random
    numbers, as it does (from torch's generator) with those whose names begin with `may_lack`, where that is given.
    settings: for its `from_pretrained`.

    Raises ValueError where weights are missing, damaged, or pickled together with anything but tensors.
    """
    config = settings.pop("config", None) or _config(name, option)
    try:
        loaded: Any = kind.from_pretrained(
            name,
            config=config,
            attn_implementation=ATTENTION_NAME,
            dtype=torch.float32,
            output_loading_info=True,
            weights_only=True,  # other pickles could run code
            trust_remote_code=False,
            **settings,
        )
    except UNREADABLE as error:
        raise ValueError(f"{option}: its weights cannot be read: {first_line(error)}") from error
    model, report = loaded
    missing = sorted(report["missing_keys"]) + sorted(str(key) for key in report.get("mismatched_keys", ()))
    if may_lack:
        missing = [key for key in missing if not key.startswith(may_lack)]
    if missing:
        whole = "BERT encoder" if kind is BertModel else kind.__name__
        raise ValueError(f"{option}: the files hold no weights for {some_of(missing)}: this is not a whole {whole}")
    return model


def _config(name: str, option: str) -> BertConfig:
    try:
        return BertConfig.from_dict(read_settings(name))
    except (OSError, ValueError) as error:
        raise ValueError(f"{option}: its configuration cannot be used: {first_line(error)}") from error


def _cut(model: BertModel, layers: int) -> None:
    model.encoder.layer = model.encoder.layer[:layers]
    model.config.num_hidden_layers = layers
