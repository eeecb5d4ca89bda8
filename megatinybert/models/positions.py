"""Positions that a student was not trained at."""

from __future__ import annotations

import torch
from torch import Tensor

# Of the mean squared length of the teacher's centred vectors; between 0.001 and 1 the result hardly changes.
_RIDGE = 0.01


def extend_positions(student_PD: Tensor, teacher_PE: Tensor, trained: int) -> Tensor:
    """The student's position embeddings with those from `trained` on read off the teacher's: (P, D).

    student_PD, teacher_PE: position embeddings, (P, D) and (P', E); where P' < P, the last P - P' stay as they are. A
    linear map from the teacher's to the student's is fitted on the first `trained` positions by ridge regression (Hoerl
    and Kennard 1970) and applied to the rest. The student has learnt to read positions of that form; random
    vectors look like words to it.
    """
    count = min(len(student_PD), len(teacher_PE))
    teacher_PE = teacher_PE[:count].double()
    known_TE, known_TD = teacher_PE[:trained], student_PD[:trained].double()
    mean_E, mean_D = known_TE.mean(dim=0), known_TD.mean(dim=0)
    centred_TE = known_TE - mean_E
    gram_TT = centred_TE @ centred_TE.T  # there are fewer positions than dimensions: the small side is solved for
    ridge = _RIDGE * gram_TT.diagonal().mean() * torch.eye(trained, dtype=torch.float64, device=gram_TT.device)
    weights_TD = torch.linalg.solve(gram_TT + ridge, known_TD - mean_D)
    rest_RD = (teacher_PE[trained:] - mean_E) @ (centred_TE.T @ weights_TD) + mean_D
    return torch.cat([student_PD[:trained], rest_RD.to(student_PD.dtype), student_PD[count:]])
