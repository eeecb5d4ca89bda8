"""The steps that benchmarks/step.py compares.

literal: the published step in float32 with score matrices (literal.py). eager: the same amount of work by
Transformers' own eager attention. step: the product's `train_step` through its DeepSpeed engine. floor: the
same with an objective that costs next to nothing, so that step over floor is what the objective costs.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from transformers import BertModel

from benchmarks.job import Job
from benchmarks.literal import eager_loss, literal_loss
from megatinybert.config.deepspeed import load_ds_config
from megatinybert.corpus.shards import open_corpus
from megatinybert.corpus.tokenizer import SpecialIds
from megatinybert.models.capture import Features, Wanted
from megatinybert.models.configuration import read_bert_config
from megatinybert.models.load import Teacher, load_teacher, teacher_dtype
from megatinybert.objectives.base import Objective, Term
from megatinybert.objectives.tinybert import TinyBert
from megatinybert.runtime.dist import World
from megatinybert.runtime.stopwatch import Stopwatch
from megatinybert.runtime.trainees import Trainees
from megatinybert.samples.windows import TokenStream, Windows
from megatinybert.tracking.flops import forward_flops, training_flops
from megatinybert.training.engine import build_engine
from megatinybert.training.step import micro_batches_ahead, rank_micro_batches, train_step
from megatinybert.training.trainee import Trainee, build_trainee

LossFunction = Callable[[BertModel, TinyBert, BertModel, dict[str, Tensor]], Tensor]


class Bench:
    """Builds the steps of a job that was checked, on this process's device."""

    def __init__(self, job: Job, world: World) -> None:
        self.job, self.world, self.config = job, world, job.config()
        self.settings = load_ds_config(job.deepspeed, self.config, world.size)
        self.teacher_config = read_bert_config(job.teacher, "--teacher")
        # Ids of any kind will do: the time of a step does not depend on them.
        special = SpecialIds(cls=0, sep=1, pad=2, mask=3, vocab_size=self.teacher_config.vocab_size)
        self.windows = Windows(
            TokenStream(open_corpus(job.corpus).shards),
            job.length,
            special,
            self.teacher_config.vocab_size,
            self.config.data.pair_probability if self.teacher_config.type_vocab_size > 1 else 0.0,
            self.config.run.seed,
        )
        self.teacher_dtype = teacher_dtype(self.config.teacher.dtype, world.device, self.config.teacher.quantize)
        self._teacher: Teacher | None = None
        self._eager_teacher: BertModel | None = None

    def literal(self) -> LiteralStep:
        return LiteralStep(self, literal_loss)

    def eager(self) -> LiteralStep:
        return LiteralStep(self, eager_loss)

    def step(self) -> EngineStep:
        return EngineStep(self, self.trainee())

    def floor(self) -> EngineStep:
        trainee = self.trainee()
        floor = Floor(trainee, (self.job.micro_batch, self.job.length))
        return EngineStep(self, Trainee(trainee.student, floor))

    def flops(self) -> int:
        """Operations of a step, counted as in megatinybert/tracking/flops.py."""
        trainee, (rows, length) = self.trainee(), (self.job.micro_batch, self.job.length)
        teacher = forward_flops(self.teacher_config, trainee.objective.teacher_layers, rows, length)
        return teacher + training_flops(trainee.student.config, rows, length)

    @property
    def shape(self) -> torch.Size:
        """Of a micro batch."""
        return torch.Size((self.job.micro_batch, self.job.length))

    def trainee(self) -> Trainee:
        return build_trainee(self.config, self.teacher_config)

    def teacher(self, trainee: Trainee) -> Teacher:
        """The product's teacher, one for all steps."""
        if self._teacher is None:
            layers = trainee.objective.teacher_layers
            quantize = self.config.teacher.quantize
            self._teacher = load_teacher(self.job.teacher, layers, self.teacher_dtype, self.world.device, quantize)
            if quantize == "none":  # others were read to be rounded
                _touch(self._teacher.model)
            if self.job.compile == "always":
                self._teacher.compile_passes(self.shape, trainee.wanted)
        return self._teacher

    def eager_teacher(self) -> BertModel:
        """The whole teacher in float32 on eager attention, one for all steps."""
        if self._eager_teacher is None:
            model: Any = BertModel.from_pretrained(
                self.job.teacher,
                add_pooling_layer=False,
                attn_implementation="eager",
                dtype=torch.float32,
                trust_remote_code=False,
            )
            self._eager_teacher = model.to(self.world.device).eval().requires_grad_(False)
            _touch(self._eager_teacher)
        return self._eager_teacher

    def micro_batches(self, step: int) -> Iterable[tuple[int, dict[str, Tensor]]]:
        """The input of a step: one micro batch."""
        return rank_micro_batches(self.windows, step, self.job.micro_batch, self.job.micro_batch, self.world)


def _touch(model: BertModel) -> None:
    """Read all weights: they may be a mapped file, and would be taken for memory of the first step."""
    for parameter in model.parameters():
        parameter.sum()


class LiteralStep:
    """One float32 optimizer step with torch's AdamW and global-norm clipping."""

    def __init__(self, bench: Bench, loss: LossFunction) -> None:
        self._bench, self._loss, self._teacher = bench, loss, bench.eager_teacher()
        self._trainee = bench.trainee().to(bench.world.device)
        self._trainee.student.set_attn_implementation("eager")
        assert isinstance(self._trainee.objective, TinyBert)
        self._objective = self._trainee.objective
        wanted = bench.config.optimizer
        self._optimizer = torch.optim.AdamW(
            self._trainee.parameters(),
            lr=wanted.learning_rate,
            betas=wanted.betas,
            eps=wanted.eps,
            weight_decay=wanted.weight_decay,
        )
        self._steps = itertools.count()

    def __call__(self) -> None:
        for _, batch in self._bench.micro_batches(next(self._steps)):
            self._loss(self._trainee.student, self._objective, self._teacher, batch).backward()
        clipping = self._bench.config.optimizer.gradient_clipping
        torch.nn.utils.clip_grad_norm_(self._trainee.parameters(), clipping)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)


class EngineStep:
    """`train_step` as the product calls it, on one rank with one micro batch."""

    def __init__(self, bench: Bench, trainee: Trainee) -> None:
        self._bench, self._teacher = bench, bench.teacher(trainee)
        if bench.job.compile == "always":
            trainee.compile_passes(bench.shape)
        self.engine = build_engine(trainee.to(bench.world.device), bench.config.optimizer, bench.settings)
        rows = bench.job.micro_batch
        self._steps = enumerate(micro_batches_ahead(bench.windows, range(sys.maxsize), rows, rows, bench.world))

    def __call__(self) -> None:
        self._step(Stopwatch(self._bench.world.device))

    def stages(self) -> dict[str, float]:
        """Make one step: the seconds of its parts."""
        watch = Stopwatch(self._bench.world.device)
        self._step(watch)
        return watch.read()

    def _step(self, watch: Stopwatch) -> None:
        (step, batches), config = next(self._steps), self._bench.config
        rates = {"student": config.optimizer.learning_rate}
        train_step(Trainees({"student": self.engine}), self._teacher, batches, step, config.run.seed, rates, watch)


class Floor(Objective):
    """The inner product of the last hidden states with a fixed random tensor: a gradient for next to nothing.

    The teacher runs as the product's objective would have it. windows: (micro batch, length).
    """

    direction_BSD: Tensor

    def __init__(self, product: Trainee, windows: tuple[int, int]) -> None:
        super().__init__()
        self.terms, self.teacher_layers = [Term("floor", "floor", 1.0)], product.objective.teacher_layers
        self._wanted = product.objective.wanted
        generator = torch.Generator().manual_seed(0)
        direction_BSD = torch.randn(*windows, product.student.config.hidden_size, generator=generator)
        self.register_buffer("direction_BSD", direction_BSD, persistent=False)

    @property
    def wanted(self) -> Wanted:
        return self._wanted

    def forward(self, student: Features, teacher: Features | None, batch: dict[str, Tensor]) -> list[Tensor]:
        return [(student.hidden_states[-1].float() * self.direction_BSD).sum()]
