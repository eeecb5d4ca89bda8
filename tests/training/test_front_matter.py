"""The front matter of a card: what the teacher's folder tells, and nothing that it does not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from megatinybert.training.front_matter import front_matter, shown_model, shown_name, shown_weights


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


def test_what_a_folder_was_made_from_is_told_in_words_and_is_not_the_base_model(tmp_path: Path) -> None:
    for name, origin in (
        ("google-bert/bert-base-chinese", "google-bert/bert-base-chinese"),
        ("bert-base-uncased", "bert-base-uncased"),
        ("/data/models/teacher", None),
        ("runs/first/student", None),
        ("teacher", None),
        ("", None),
    ):
        (tmp_path / "config.json").write_text(json.dumps({"_name_or_path": name}))
        assert "base_model" not in _front(str(tmp_path))
        assert shown_model(str(tmp_path)) == f"the folder '{tmp_path.name}'{f' (from {origin})' if origin else ''}"


def test_a_name_that_is_no_folder_is_on_the_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert _front("owner/name")["base_model"] == shown_model("owner/name") == "owner/name"
    (tmp_path / "owner" / "name").mkdir(parents=True)
    assert "base_model" not in _front("owner/name")


@pytest.mark.parametrize("told", ["owner/origin", ["owner/origin", "owner/other"]])
def test_what_a_folder_was_made_from_is_else_what_its_card_says(tmp_path: Path, told: object) -> None:
    card = tmp_path / "README.md"
    card.write_text(f"---\n{yaml.safe_dump({'base_model': told})}---\n\n# A teacher\n")
    for name, expected in (("/data/models/teacher", "owner/origin"), ("owner/own", "owner/own")):
        (tmp_path / "config.json").write_text(json.dumps({"_name_or_path": name}))
        assert shown_model(str(tmp_path)).endswith(f" (from {expected})")
    card.write_text("---\nbase_model: /data/models/origin\n---\n")
    (tmp_path / "config.json").write_text("{}")
    assert "from" not in shown_model(str(tmp_path))


def test_a_folder_is_shown_by_its_own_name_and_what_it_was_made_from(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "models" / "mine"
    folder.mkdir(parents=True)
    for name in ("models/mine", str(folder), "models/../models/mine/"):
        assert shown_model(name) == shown_weights(name) == "the folder 'mine'"
    (folder / "config.json").write_text(json.dumps({"_name_or_path": "owner/origin"}))
    assert shown_model("models/mine") == "the folder 'mine' (from owner/origin)"
    assert shown_model("owner/name") == "owner/name"  # not a folder, so on the hub
    (tmp_path / "solved").mkdir()
    assert shown_weights("solved") == "solved"  # as the option means it


def test_a_folder_of_the_hubs_cache_has_its_name_on_the_hub(tmp_path: Path) -> None:
    revision = "0123456789abcdef0123456789abcdef01234567"
    folder = tmp_path / "models--owner--its-name" / "snapshots" / revision
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"_name_or_path": "owner/origin"}))
    assert _front(str(folder))["base_model"] == shown_model(str(folder)) == "owner/its-name"


def test_a_shown_name_has_no_folders_of_the_machine() -> None:
    names = ("/data/models/teacher", "/data/text/", "mine/data/text.txt", "../mine/data/./", "text.txt")
    assert [shown_name(name) for name in names] == ["teacher", "text", "text.txt", "data", "text.txt"]
    assert shown_model("/data/models/gone") == "gone"  # since it was loaded
