"""Confusion matrices and scatter plots: counts by label and prediction, drawn where they belong."""

from __future__ import annotations

from pathlib import Path

import matplotlib.image
import numpy as np
import pytest

from megatinybert.tasks.confusion import confusion_figure, count_confusions, scatter_figure
from megatinybert.tracking.figures import save_picture


def test_counts_are_by_label_and_prediction() -> None:
    labels, predictions = np.array([0, 0, 0, 2, 2, 1]), np.array([0, 1, 1, 2, 0, 1])
    assert count_confusions(predictions, labels, 3).tolist() == [[1, 2, 0], [0, 1, 0], [1, 0, 1]]


def blue_rows_and_columns(image: np.ndarray) -> tuple[float, float]:
    """The centre of the dark blue pixels, as parts of the height and of the width."""
    dark = (image[..., 2] > image[..., 0].astype(int) + 60) & (image[..., 0] < 60)
    rows, columns = np.nonzero(dark)
    return rows.mean() / image.shape[0], columns.mean() / image.shape[1]


def test_a_label_is_a_row_and_a_prediction_a_column() -> None:
    counts = np.zeros((3, 3), dtype=np.int64)
    counts[0, 2] = 40  # of the first label, all are taken for the last
    image = confusion_figure({"student": counts}, ["one", "two", "three"])
    assert image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3
    row, column = blue_rows_and_columns(image)
    assert row < 0.45 and column > 0.6
    row, column = blue_rows_and_columns(confusion_figure({"student": counts.T}, ["one", "two", "three"]))
    assert row > 0.5 and column < 0.5


def test_two_models_stand_side_by_side() -> None:
    counts = np.array([[50, 3], [8, 40]])
    one = confusion_figure({"teacher": counts}, ["negative", "positive"])
    both = confusion_figure({"teacher": counts, "student": counts.T}, ["negative", "positive"])
    assert both.shape[0] == one.shape[0] and both.shape[1] > 1.4 * one.shape[1]
    np.testing.assert_array_equal(
        both, confusion_figure({"teacher": counts, "student": counts.T}, ["negative", "positive"])
    )


def test_a_note_stands_below_the_matrices() -> None:
    def end(note: str) -> int:
        """The last row of pixels with one of a matrix's dark cells."""
        image = confusion_figure({"student": np.array([[5, 1], [2, 7]])}, ["(0)", "(1)"], note)
        return int(np.flatnonzero((image < 128).sum(axis=(1, 2)) > 300).max())

    assert end("numbers: of a file") < end("") - 10


@pytest.mark.parametrize("classes", [2, 150])
def test_any_number_of_classes_fits(classes: int) -> None:
    counts = np.eye(classes, dtype=np.int64) * 7
    counts[1] = 0  # a label without rows
    names = [f"$a label of a long name {i}" if i % 2 else f"标签{i}" for i in range(classes)]
    image = confusion_figure({"teacher": counts, "student": counts}, names)
    assert image.shape[0] < 1000 and image.shape[1] < 2000


def test_scores_are_scattered_around_the_diagonal() -> None:
    scores = np.linspace(0, 5, 200)
    image = scatter_figure({"teacher": scores, "student": 5 - scores}, scores)
    middle = image.shape[1] // 2
    blue = (image[..., 2] > image[..., 0].astype(int) + 40).astype(float)

    def slope(half: np.ndarray) -> float:
        rows, columns = np.nonzero(half)
        return float(np.corrcoef(-rows, columns)[0, 1])

    assert slope(blue[:, :middle]) > 0.9 and slope(blue[:, middle:]) < -0.9


def test_equal_scores_have_a_picture() -> None:
    assert scatter_figure({"student": np.zeros(3)}, np.zeros(3)).shape[2] == 3


def test_an_image_is_saved_as_it_is(tmp_path: Path) -> None:
    image = confusion_figure({"student": np.array([[5, 1], [2, 7]])}, ["a", "b"])
    save_picture(image, tmp_path / "confusion.png")
    read = matplotlib.image.imread(tmp_path / "confusion.png")
    np.testing.assert_array_equal((read[..., :3] * 255).round().astype(np.uint8), image)
    assert [path.name for path in tmp_path.iterdir()] == ["confusion.png"]
