"""The two forms of the score loss against each other, and against the paper's formula written out."""

import math

import pytest
import torch
from torch import Tensor

from megatinybert.objectives.scores import gram_square_sum, literal_square_sum, score_loss, takes_gram_form

LENGTH = 40


def vectors(d_s: int, d_t: int, noise: float | None = None, length: int = LENGTH) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)

    def draw(width: int) -> Tensor:
        return torch.randn(3, 4, length, width, generator=generator, dtype=torch.float64)

    q_t, k_t = draw(d_t), draw(d_t)
    if noise is None:
        return [draw(d_s), draw(d_s), q_t, k_t]
    return [q_t + noise * draw(d_t), k_t + noise * draw(d_t), q_t, k_t]


def padding(length: int = LENGTH) -> Tensor:
    return torch.arange(length)[None, :] < torch.tensor([length, length // 2, 3])[:, None]


def with_gradient(form, tensors: list[Tensor], mask: Tensor | None, normalize: str) -> tuple[Tensor, Tensor]:
    q_s, k_s = (tensor.clone().requires_grad_() for tensor in tensors[:2])
    loss = form(q_s, k_s, *tensors[2:], mask, normalize)
    gradients = torch.autograd.grad(loss, (q_s, k_s))
    return loss.detach().double(), torch.cat([gradient.double().flatten() for gradient in gradients])


def published(tensors: list[Tensor], mask: Tensor | None, normalize: str) -> float:
    """Cell by cell: QK^T / sqrt(d), columns of padded keys 0 in both models, mean over all (or the real) cells."""
    q_s, k_s, q_t, k_t = (tensor.tolist() for tensor in tensors)
    total, cells = 0.0, 0
    for b in range(len(q_s)):
        for h in range(len(q_s[b])):
            for i in range(LENGTH):
                for j in range(LENGTH):
                    if normalize == "valid" and mask is not None and not (mask[b, i] and mask[b, j]):
                        continue
                    cells += 1
                    if mask is not None and not mask[b, j]:
                        continue
                    student, teacher = (
                        sum(x * y for x, y in zip(q[b][h][i], k[b][h][j], strict=True)) / math.sqrt(len(q[b][h][i]))
                        for q, k in ((q_s, k_s), (q_t, k_t))
                    )
                    total += (student - teacher) ** 2
    return total / cells


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("normalize", ["reference", "valid"])
def test_loss_is_the_published_formula(masked: bool, normalize: str) -> None:
    mask = padding() if masked else None
    for d_s, d_t in ((5, 7), (24, 30)):  # joined widths below and above the length: either form
        tensors = vectors(d_s, d_t)
        expected = published(tensors, mask, normalize)
        assert float(score_loss(*tensors, mask, normalize)) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("normalize", ["reference", "valid"])
@pytest.mark.parametrize(("d_s", "d_t"), [(26, 32), (26, 64), (8, 8)])
def test_forms_agree_in_float64(masked: bool, normalize: str, d_s: int, d_t: int) -> None:
    mask = padding() if masked else None
    tensors = vectors(d_s, d_t)
    literal, literal_gradient = with_gradient(literal_square_sum, tensors, mask, normalize)
    gram, gram_gradient = with_gradient(gram_square_sum, tensors, mask, normalize)
    assert relative(gram, literal) < 1e-9
    assert relative(gram_gradient, literal_gradient) < 1e-9


@pytest.mark.parametrize(
    ("noise", "values", "loss_error", "gradient_error"),
    [
        (0.1, torch.float32, 1e-5, 1e-5),
        (0.01, torch.float32, 1e-3, 1e-4),
        (0.1, torch.bfloat16, 3e-4, 1e-5),
        (0.01, torch.bfloat16, 2e-2, 1e-4),
    ],
)
def test_rounding_close_to_the_teacher(
    noise: float, values: torch.dtype, loss_error: float, gradient_error: float
) -> None:
    """The Gram form subtracts large sums; how much is lost when the student is nearly the teacher."""
    tensors = [tensor.to(values) for tensor in vectors(32, 32, noise, length=128)]
    exact = with_gradient(literal_square_sum, [tensor.double() for tensor in tensors], None, "reference")
    ours = with_gradient(gram_square_sum, [tensor.float() for tensor in tensors], None, "reference")
    errors = [relative(a, b) for a, b in zip(ours, exact, strict=True)]
    print(f"noise {noise}, {values}: loss off by {errors[0]:.1e}, gradient by {errors[1]:.1e}")
    assert errors[0] < loss_error and errors[1] < gradient_error


def test_sixteen_bit_inputs_are_computed_in_float32() -> None:
    tensors = [tensor.to(torch.bfloat16) for tensor in vectors(26, 32, length=80)]
    loss = score_loss(*tensors)
    assert loss.dtype == torch.float32
    assert float(loss) == pytest.approx(float(score_loss(*[t.double() for t in tensors])), rel=1e-5)


def test_autocast_does_not_reach_into_the_loss() -> None:
    tensors = vectors(26, 32, length=80)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = score_loss(*[t.float() for t in tensors])
    assert float(loss) == pytest.approx(float(score_loss(*tensors)), rel=1e-6)


def test_the_faster_form_is_chosen_by_length() -> None:
    assert not takes_gram_form(57, 26, 32) and takes_gram_form(58, 26, 32)


def relative(value: Tensor, reference: Tensor) -> float:
    return float((value - reference).norm() / reference.norm())
