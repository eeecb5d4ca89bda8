"""The tables of docs/ that list measurements, made from megatinybert/tracking/measurements.py.

After a change there, write them anew:

    python -m tests.scripts.measurement_tables
"""

from __future__ import annotations

import re

from megatinybert.tracking.measurements import BESIDE_LOSSES, CATEGORIES, EVERY, MEASUREMENTS, TEACHER, TRAINING
from tests.helpers.toys import REPOSITORY

DOCS = REPOSITORY / "docs"


def general_table() -> str:
    """What a general distillation logs, by tag."""
    rows = [(f"`{m.tag}`", m.unit, m.meaning) for m in MEASUREMENTS if m.logged_by in (EVERY, TEACHER)]
    return _table(("tag", "unit", "meaning"), rows)


def first_page_table() -> str:
    """The categories of TensorBoard's first page, with their charts."""
    rows = []
    for category, question in CATEGORIES.items():
        charts = dict.fromkeys(m.chart for m in MEASUREMENTS if m.category == category and "{" not in m.chart)
        rows.append((category, ", ".join(charts), question))
    return _table(("category", "charts, where a run has them", "is the answer to"), rows)


def places_table() -> str:
    """Where TensorBoard has what is not under its own tag in the run of all else."""
    rows: dict[tuple[str, ...], None] = {}
    for m in MEASUREMENTS:
        if m.run == TRAINING:
            continue
        place = (m.tag, m.run, m.written or m.tag)
        is_term = m.chart in m.tag and m.tag not in BESIDE_LOSSES  # of which one row tells all
        rows[tuple(f"`{part.replace(m.chart, '{name}') if is_term else part}`" for part in place)] = None
    return _table(("in `metrics.jsonl`", "run", "tag"), [*rows, ("all others", f"`{TRAINING}`", "the same")])


TABLES = {
    ("general.md", "general distillation"): general_table,
    ("monitor.md", "first page"): first_page_table,
    ("monitor.md", "places"): places_table,
}


def between_markers(page: str, name: str, table: str) -> str:
    """The page with the table between `<!-- measurements: NAME -->` and the next `<!-- end -->`."""
    begin, end = f"<!-- measurements: {name} -->\n", "<!-- end -->"
    replaced, count = re.subn(f"{re.escape(begin)}.*?{end}", lambda _: f"{begin}{table}{end}", page, flags=re.DOTALL)
    assert count == 1, f"the page has {count} places for the table {name!r}"
    return replaced


def _table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [header, ("---",) * len(header), *rows]
    return "".join("| " + " | ".join(cells) + " |\n" for cells in lines)


def main() -> None:
    for (name, part), table in TABLES.items():
        page = DOCS / name
        page.write_text(between_markers(page.read_text(encoding="utf-8"), part, table()), encoding="utf-8")
        print(f"wrote {page}")


if __name__ == "__main__":
    main()
