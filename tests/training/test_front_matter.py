"""The front matter of a card: what the teacher's folder tells, and nothing that it does not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from megatinybert.training.front_matter import front_matter, hub_name, shown_name


def _front(model: str | None) -> dict[str, object]:
    found: dict[str, object] = yaml.safe_load(str(front_matter(model, "fill-mask", ["bert"])))
    return found


def test_a_folder_without_card_or_name_gives_neither_base_model_nor_language(tmp_path: Path) -> None:
    plain: dict[str, object] = {"library_name": "transformers", "pipeline_tag": "fill-mask", "tags": ["bert"]}
    assert _front(str(tmp_path)) == _front(None) == plain
    (tmp_path / "config.json").write_text("{not JSON")
    (tmp_path / "README.md").write_text("# A card without front matter\n")
    assert _front(str(tmp_path)) == plain


@pytest.mark.parametrize("language", ["zh", ["en", "de"]])
def test_the_language_is_that_of_the_teachers_card(tmp_path: Path, language: object) -> None:
    (tmp_path / "README.md").write_text(f"---\n{yaml.safe_dump({'language': language})}---\n\n# A teacher\n")
    assert _front(str(tmp_path))["language"] == language


def test_the_base_model_of_a_folder_is_the_hub_name_in_its_configuration(tmp_path: Path) -> None:
    for name, expected in (
        ("google-bert/bert-base-chinese", "google-bert/bert-base-chinese"),
        ("bert-base-uncased", "bert-base-uncased"),
        ("/data/models/teacher", None),
        ("runs/first/student", None),
        ("teacher", None),
        ("", None),
    ):
        (tmp_path / "config.json").write_text(json.dumps({"_name_or_path": name}))
        assert _front(str(tmp_path)).get("base_model") == hub_name(str(tmp_path)) == expected


def test_a_name_that_is_no_folder_is_on_the_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert hub_name("owner/name") == "owner/name"
    (tmp_path / "owner" / "name").mkdir(parents=True)
    assert hub_name("owner/name") is None


def test_a_shown_name_has_no_folders_of_the_machine() -> None:
    assert [shown_name(name) for name in ("/data/models/teacher", "/data/text/", "data/text", "owner/name")] == [
        *("teacher", "text", "data/text", "owner/name")
    ]
