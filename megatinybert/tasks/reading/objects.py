"""What the JSON objects of a task's rows hold."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

from megatinybert.config.codec import codec_name
from megatinybert.tasks.reading.layout import Layout


def text_of(value: Any) -> str | None:
    """A string, or strings with spaces between; None where a value is neither, or no Unicode text."""
    parts = value if isinstance(value, list) and value else [value]
    return " ".join(parts) if all(isinstance(part, str) and _is_encodable(part) for part in parts) else None


def refuse_other_json(path: Path, line: int, text: str, row: Any, layout: Layout) -> None:
    """Raise ValueError for JSON that holds other things than a row a line."""
    if line == 1 and text.startswith("[") and path.suffix == ".json":
        old, lines, kept = map(shlex.quote, map(str, (path, path.with_suffix(".jsonl"), f"{path}.array")))
        codec = codec_name(layout.encoding)
        source = "sys.stdin.buffer" if codec == "utf-8" else "sys.stdin"  # json passes over a mark of bytes alone
        program = f"[print(json.dumps(row, ensure_ascii=False)) for row in json.load({source})]"
        raise ValueError(
            f"{path}: a JSON array, but one object per line is needed. Convert it: PYTHONIOENCODING={codec} "
            f'python -c "import json, sys; {program}" < {old} > {lines} && mv {old} {kept}'
        )
    target = row.get("target") if isinstance(row, dict) else None
    if isinstance(target, dict) and "span1_text" in target:
        raise ValueError(
            f"{path}:{line}: rows of CLUE's WSC, whose label is about two words of the text (target), but a row is "
            "one text or two here. Write both words into a second text, under a key such as text_b"
        )


def parsed(text: str) -> Any:
    """The value of a JSON text; None where it is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _is_encodable(text: str) -> bool:
    """Whether a string is Unicode text: JSON can spell half a character."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
