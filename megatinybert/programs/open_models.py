"""The models and tokenizer of a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tokenizers import Tokenizer
from transformers import BertConfig, PreTrainedConfig

from megatinybert.config.general import GeneralConfig
from megatinybert.config.schema import shipped_students
from megatinybert.config.teacher_engine import load_teacher_ds_config
from megatinybert.corpus.tokenizer import SpecialIds, load_tokenizer, special_ids, tokenizer_fingerprint
from megatinybert.models.configuration import read_bert_config, student_config
from megatinybert.models.initialize import model_folder
from megatinybert.models.layer_map import layers_in_words, resolve_layer_map
from megatinybert.models.load import Teacher, count_of, load_teachers, teacher_dtype
from megatinybert.programs.members import Members
from megatinybert.runtime.dist import World
from megatinybert.runtime.findings import Finding, Findings
from megatinybert.tracking.attention_maps import MapChoice, choose_maps
from megatinybert.training.checks import (
    check_mlm,
    check_positions,
    check_sizes,
    check_tokenizer,
    check_weight_files,
)
from megatinybert.training.first_weights import projections_left_aside
from megatinybert.training.fits import check_dropout, check_embeddings
from megatinybert.training.partitioned_teacher import load_partitioned
from megatinybert.training.solve.first import check_solvable
from megatinybert.training.trainee import Trainee, build_mlm_trainee, build_trainee


@dataclass(frozen=True)
class Reader:
    """The tokenizer."""

    tokenizer: Tokenizer
    special: SpecialIds
    fingerprint: str


@dataclass(frozen=True)
class Models:
    """What could be opened. whole: the configuration that decides vocabulary and segments.

    trainees, teachers, maps: by the student's name. The teachers are one model, as deep as any student needs it.
    """

    reader: Reader | None
    whole: BertConfig | None
    trainees: Mapping[str, Trainee] = field(default_factory=dict)
    teacher_config: BertConfig | None = None
    teachers: Mapping[str, Teacher] = field(default_factory=dict)
    maps: Mapping[str, MapChoice | None] = field(default_factory=dict)

    @property
    def shapes(self) -> list[PreTrainedConfig]:
        """Of all models."""
        students = [trainee.student.config for trainee in self.trainees.values()]
        return [*([self.whole] if self.whole else []), *students]

    @property
    def positions(self) -> int:
        """How many positions all models have."""
        return min(shape.max_position_embeddings for shape in self.shapes)

    def weights(self, student: str) -> int:
        """How many student and objective have."""
        return count_of(self.trainees[student].parameters())


def taught_models(members: Members, tokenizer: str, world: World, findings: Findings) -> Models:
    """Students and their teacher."""
    config = members.first
    name = config.teacher.model
    assert name is not None, "which the configuration has seen to"
    option = f"--teacher.model {name}"
    whole = findings.attempt("teacher", read_bert_config, name, "--teacher.model")
    may_load = _may_load(config, world, findings)
    if whole is None:  # its own tokenizer is not there either
        own = config.teacher.tokenizer is None
        return Models(None if own else _open_tokenizer(tokenizer, option, None, findings), None)
    said = members.findings()
    built = {name: _build_trainee(member, whole, world, said[name]) for name, member in members.configs.items()}
    findings.add(*members.of_each(said))
    trainees = {name: trainee for name, trainee in built.items() if trainee}
    findings.add(*_check_alike(config, trainees))
    if may_load:
        may_load = _may_load(config, world, findings)
    teachers = _load_teachers(config, whole, trainees, world, findings) if may_load else {}
    reader = _open_tokenizer(tokenizer, option, whole, findings)
    said, maps = members.findings(), {}
    for student, trainee in trainees.items():
        shape, depth = trainee.student.config, trainee.objective.teacher_layers
        assert isinstance(shape, BertConfig)
        wanted = members.configs[student]
        maps[student] = said[student].attempt("attention maps", choose_maps, wanted, shape, whole, depth)
    findings.add(*members.of_each(said))
    return Models(reader, whole, trainees, whole, teachers, maps)


def untaught_models(members: Members, tokenizer: str, world: World, findings: Findings) -> Models:
    """A model that learns from the text alone. The vocabulary of a shipped shape is the tokenizer's."""
    config = members.first
    wanted = config.student
    own = None
    if wanted.config not in shipped_students():
        own = findings.attempt("student", read_bert_config, wanted.config, "--student.config")
    reader = _open_tokenizer(tokenizer, f"--student.config {wanted.config}", own, findings)
    if wanted.config in shipped_students() and reader:
        own = BertConfig(vocab_size=reader.special.vocab_size)
    if own is None:
        return Models(reader, None)
    shape = student_config(wanted.config, own, wanted.hidden_dropout, wanted.attention_dropout)
    findings.add(*_check_positions(config, None, shape))
    trainee = findings.attempt("student", build_mlm_trainee, config, shape)
    if trainee:
        findings.add(*check_mlm(config, trainee.student))
    return Models(reader, shape, {next(iter(members.configs)): trainee} if trainee else {})


def _build_trainee(config: GeneralConfig, teacher: BertConfig, world: World, findings: Findings) -> Trainee | None:
    wanted = config.student
    dropout = (wanted.hidden_dropout, wanted.attention_dropout)
    shape = findings.attempt("student", student_config, wanted.config, teacher, *dropout)
    if shape is None:
        return None
    findings.add(*_check_positions(config, teacher, shape))
    trainee = findings.attempt("student", build_trainee, config, teacher)
    if trainee and wanted.init == "solved":
        findings.attempt("student", check_solvable, trainee)
    left_aside = projections_left_aside(trainee.objective, wanted.init) if trainee else None
    findings.add(*([Finding("warn", "projections", left_aside)] if left_aside else []))
    findings.add(*check_dropout(wanted, world.device))
    if trainee:
        findings.add(*check_sizes(config, teacher, trainee.student))
        layers = resolve_layer_map(config.objective.layer_map, shape.num_hidden_layers, teacher.num_hidden_layers)
        text = layers_in_words(config.objective.layer_map, layers, teacher.num_hidden_layers)
        findings.add(Finding("ok", "layer map", text))
    return trainee


def _check_alike(config: GeneralConfig, trainees: Mapping[str, Trainee]) -> list[Finding]:
    """Whether students read the same windows, each of them as it would alone."""
    findings = []
    keys = ["type_vocab_size", *(["max_position_embeddings"] if config.data.position_skips else [])]
    for key in keys:
        values = {name: getattr(trainee.student.config, key) for name, trainee in trainees.items()}
        if len(set(values.values())) > 1:
            said = ", ".join(f"{name} {value}" for name, value in values.items())
            text = f"students of one run read the same windows, so their shapes need the same {key}: here {said}"
            findings.append(Finding("fail", "students", text))
    return findings


def _may_load(config: GeneralConfig, world: World, findings: Findings) -> bool:
    """Whether to load the teacher: one that is partitioned is loaded by all ranks together, so by none of them where
    any has found a failure. Every rank calls it.
    """
    return config.teacher.deepspeed is None or not world.count(findings.failed)


def _load_teachers(
    config: GeneralConfig, teacher: BertConfig, trainees: Mapping[str, Trainee], world: World, findings: Findings
) -> dict[str, Teacher]:
    assert config.teacher.model is not None
    findings.add(*check_weight_files(config.teacher.model))
    depths = {name: trainee.objective.teacher_layers for name, trainee in trainees.items()}
    wanted = list(depths.values()) or [teacher.num_hidden_layers]
    quantize = config.teacher.quantize
    dtype = teacher_dtype(config.teacher.dtype, world.device, quantize)
    name, file = config.teacher.model, config.teacher.deepspeed
    if file:
        raw = findings.attempt("teacher", load_teacher_ds_config, file, str(dtype).removeprefix("torch."))
        if world.count(raw is None) or raw is None:
            return {}
        loaded = findings.attempt("teacher", load_partitioned, name, teacher, wanted, dtype, raw, world)
    else:
        loaded = findings.attempt("teacher", load_teachers, name, wanted, dtype, world.device, quantize)
    if loaded is None:
        return {}
    if not file:
        words = loaded[max(wanted)].model.base_model.embeddings.word_embeddings.weight
        findings.attempt("teacher", check_embeddings, words, name)
    return {name: loaded[depth] for name, depth in depths.items()}


def tokenizer_name(config: GeneralConfig) -> str:
    """Folder or hub name; where no teacher is named, of the model that the student starts from."""
    return config.teacher.tokenizer or config.teacher.model or model_folder(config.student.init)


def _open_tokenizer(name: str, option: str, model: BertConfig | None, findings: Findings) -> Reader | None:
    """option: what named the model that has to know its ids."""
    tokenizer = findings.attempt("tokenizer", load_tokenizer, name) if name else None
    special = findings.attempt("tokenizer", special_ids, tokenizer) if tokenizer else None
    if not (tokenizer and special):
        return None
    fingerprint = tokenizer_fingerprint(tokenizer)
    if model:
        findings.add(check_tokenizer(name, special, fingerprint, option, model))
    return Reader(tokenizer, special, fingerprint)


def _check_positions(config: GeneralConfig, teacher: BertConfig | None, student: BertConfig) -> list[Finding]:
    models = {f"--teacher.model {config.teacher.model}": teacher} if teacher else {}
    models |= {f"--student.config {config.student.config}": student}
    return check_positions("--data.sequence_length", config.data.sequence_length, models)
