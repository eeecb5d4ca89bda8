"""The tables of options in docs/ are those that tests/scripts/option_tables.py writes, and leave no option out."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from megatinybert.config.general import GENERAL
from megatinybert.config.program import Program
from megatinybert.config.task import TASK
from tests.helpers.pages import DOCS, section
from tests.scripts.option_tables import PAGES, Option, described_in, names_in, options_of, table, written


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_tables_are_up_to_date(page: Path) -> None:
    assert page.read_text(encoding="utf-8") == written(page), "run: python -m tests.scripts.option_tables"


@pytest.mark.parametrize("program", [GENERAL, TASK], ids=["general", "task"])
def test_no_option_of_the_schema_is_missed(program: Program) -> None:
    fields = program.schema.model_fields.items()
    inner = {name: getattr(field.annotation, "model_fields", None) for name, field in fields}
    assert set(options_of(program)) == {
        f"{name}.{key}" if keys else name for name, keys in inner.items() for key in keys or [""]
    }


def test_every_option_of_general_distillation_has_one_row() -> None:
    assert sorted(described_in(DOCS / "general.md")) == sorted(options_of(GENERAL))


def test_every_option_of_task_distillation_has_one_row_or_is_that_of_general_distillation() -> None:
    page, options, of_general = DOCS / "task.md", options_of(TASK), options_of(GENERAL)
    described = described_in(page)
    assert len(set(described)) == len(described)
    rest = options.keys() - set(described)
    assert {name: options[name] for name in rest} == {name: of_general[name] for name in rest}
    referred_to = set(re.findall(r"general\.md#(\w+)\)", section(page, "Options")))
    assert {name.split(".")[0] for name in rest} <= referred_to


def test_sections_share_the_rows_that_are_equal() -> None:
    options = {
        "one.steps": Option("how many", "a whole number", "3"),
        "one.name": Option("its name", "text", "required"),
        "two.steps": Option("how many", "a whole number", "3"),
        "two.rate": Option("how fast", "a number > 0", "0.1"),
        "three.steps": Option("how many", "a whole number", "4"),
    }
    assert table("one, two, three.steps", options).splitlines()[2:] == [
        "| `--one.steps`, `--two.steps` | `3` | how many; integer |",
        "| `--three.steps` | `4` | how many; integer |",
        "| `--one.name` | required | its name |",
        "| `--two.rate` | `0.1` | how fast; > 0 |",
    ]
    with pytest.raises(ValueError, match="no section or option four"):
        names_in("one, four", options)
