"""Positions that a student has not seen are read off the teacher's."""

from __future__ import annotations

import torch

from megatinybert.models.positions import extend_positions


def test_a_linear_relation_is_found_again() -> None:
    torch.manual_seed(0)
    teacher_PE = torch.randn(60, 3) @ torch.randn(3, 16) + torch.randn(16)  # rank 3: 20 positions show all of it
    student_PD = teacher_PE @ torch.randn(16, 8) + torch.randn(8)
    untrained_PD = torch.cat([student_PD[:20], torch.randn(40, 8)])
    extended_PD = extend_positions(untrained_PD, teacher_PE, 20)
    assert torch.equal(extended_PD[:20], student_PD[:20])
    before, after = ((x[20:] - student_PD[20:]).norm() / student_PD[20:].norm() for x in (untrained_PD, extended_PD))
    assert before > 0.5
    assert after < 0.05


def test_without_a_relation_the_rest_stays_near_the_mean() -> None:
    torch.manual_seed(0)
    student_PD, teacher_PE = torch.randn(64, 8), torch.randn(100, 32)  # a teacher may have more positions
    extended_PD = extend_positions(student_PD, teacher_PE, 32)
    assert extended_PD.shape == (64, 8) and extended_PD.dtype == torch.float32
    assert extended_PD[32:].norm(dim=1).mean() < 3 * student_PD[:32].norm(dim=1).mean()
