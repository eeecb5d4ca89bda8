"""TinyBERT's general distillation (Jiao et al. 2020, equations 7 to 9)."""

from __future__ import annotations

from torch import Tensor, nn
from transformers import BertConfig

from megatinybert.config.transfer import TransferConfig
from megatinybert.models.capture import Features, Wanted, padding_mask
from megatinybert.models.layer_map import fitting_layers
from megatinybert.objectives.base import Objective, Term
from megatinybert.objectives.scores import score_loss


class TinyBert(Objective):
    """Attention-score, hidden-state and embedding losses, each a mean squared error.

    Student layer i learns from teacher layer layer_map[i]. Hidden states pass through a linear map with bias to the
    teacher's width: one for all points ("shared", as in TinyBERT v1) or one each ("per-layer", as in v2).
    trains_projections: whether these maps are trained, as published, or keep their first values.
    Raises ValueError where layers or heads of the two models do not fit.
    """

    def __init__(self, config: TransferConfig, student: BertConfig, teacher: BertConfig) -> None:
        super().__init__()
        layers = student.num_hidden_layers
        self.layer_map = fitting_layers(config, student, teacher)
        self.normalize = config.normalize
        self.attention_layers = range(layers) if config.attention_weight else range(0)
        hidden_points = range(1, layers + 1) if config.hidden_weight else range(0)
        self.points = [*([0] if config.embedding_weight else []), *hidden_points]
        self.terms = [Term(f"attention_{i}", "attention", config.attention_weight) for i in self.attention_layers]
        for point in self.points:
            self.terms.append(
                Term(f"hidden_{point - 1}", "hidden", config.hidden_weight)
                if point
                else Term("embedding", "embedding", config.embedding_weight)
            )
        beyond_embedding = config.attention_weight or config.hidden_weight
        self.teacher_layers = self.layer_map[-1] + 1 if beyond_embedding else 0
        maps = 0 if not self.points else 1 if config.projection == "shared" else len(self.points)
        linears = [nn.Linear(student.hidden_size, teacher.hidden_size) for _ in range(maps)]
        for projection in linears:
            nn.init.normal_(projection.weight, std=student.initializer_range)  # as BERT starts its linear layers
            nn.init.zeros_(projection.bias)
        self.projections = nn.ModuleList(linears)
        self.trains_projections = True

    @property
    def wanted(self) -> Wanted:
        states = frozenset(self._teacher_point(point) for point in self.points)
        return Wanted(states, frozenset(self.layer_map[layer] for layer in self.attention_layers))

    @property
    def fixed(self) -> list[nn.Parameter]:
        return [] if self.trains_projections else list(self.projections.parameters())

    @property
    def last_projection(self) -> nn.Linear | None:
        last = self.projections[-1] if self.points and self.points[-1] else None  # not of the embeddings alone
        assert last is None or isinstance(last, nn.Linear)
        return last

    def forward(self, student: Features, teacher: Features | None, batch: dict[str, Tensor]) -> list[Tensor]:
        assert teacher is not None
        losses, mask_BS = [], padding_mask(batch)
        for i in self.attention_layers:
            j = self.layer_map[i]
            losses.append(
                score_loss(
                    student.queries[i], student.keys[i], teacher.queries[j], teacher.keys[j], mask_BS, self.normalize
                )
            )
        for number, point in enumerate(self.points):
            projection = self.projections[number if len(self.projections) > 1 else 0]
            target = teacher.hidden_states[self._teacher_point(point)]
            losses.append(state_loss(projection(student.hidden_states[point]), target, mask_BS, self.normalize))
        return losses

    def _teacher_point(self, point: int) -> int:
        """The teacher's hidden states that the student's at `point` learn from."""
        return self.layer_map[point - 1] + 1 if point else 0


def state_loss(states_BSE: Tensor, target_BSE: Tensor, mask_BS: Tensor | None, normalize: str) -> Tensor:
    """Mean squared error of states of one width (equation 8): a float32 scalar.

    "reference": the mean runs over all B*S*E cells, padding included, as published. "valid": over real tokens alone.
    """
    square = (states_BSE.float() - target_BSE.float()).square()
    if normalize == "valid" and mask_BS is not None:
        return square.masked_fill(~mask_BS[:, :, None], 0.0).sum() / (mask_BS.sum() * square.shape[-1])
    return square.mean()
