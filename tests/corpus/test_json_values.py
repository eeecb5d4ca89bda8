"""Values of a JSON file are parted wherever reading stops."""

from __future__ import annotations

import io
import json

import pytest

from megatinybert.corpus.json_values import has_lines, split_values

RECORDS: list[dict[str, object]] = [
    {"text": 'a "quoted" {brace] \\', "more": [1, {"text": "}"}]},
    {"text": "天\\\\\n,"},
    {"n": 1.5, "text": ""},
    {},
]


def values(text: bytes, block_bytes: int = 1) -> list[bytes]:
    found = []
    for data, ends in split_values(io.BytesIO(text), block_bytes):
        begins = [0, *ends.tolist()]
        found += [data[begin:end].strip() for begin, end in zip(begins, ends.tolist(), strict=False)]
    return found


@pytest.mark.parametrize("block_bytes", [1, 2, 7, 50, 1 << 20])
def test_arrays_and_objects_give_the_same_values(block_bytes: int) -> None:
    forms = [
        json.dumps(RECORDS),
        " \r\n" + json.dumps(RECORDS, indent=3, ensure_ascii=False) + "\n ",
        "\n".join(json.dumps(record, indent=1) for record in RECORDS),
        "".join(map(json.dumps, RECORDS)),
    ]
    for form in forms:
        assert [json.loads(value) for value in values(form.encode(), block_bytes)] == RECORDS, form


def test_runs_are_of_the_size_asked_for() -> None:
    runs = list(split_values(io.BytesIO(json.dumps([{"text": "x" * 80}] * 200).encode()), 1000))
    assert len(runs) > 10 and all(1000 <= len(data) < 1100 for data, _ in runs[:-1])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"", []),
        (b" [ ] ", []),
        (b"[1, {}]", [b"1", b"{}"]),
        (b'[{"a": 1}', [b'[{"a": 1}']),  # the array does not end
        (b'[{}, {"a": "', [b"{}", b'[{"a": "']),
        (b"{} x {}", [b"{}", b"x {}"]),
        (b"{}, {}", [b"{}", b",", b"{}"]),
        (b"[{}] more", [b"{}", b"more"]),
        (b"[{} {}]", [b"{} {}"]),
        (b"7", [b"7"]),
    ],
)
def test_what_does_not_belong_there_is_no_value_that_can_be_read(text: bytes, expected: list[bytes]) -> None:
    for block_bytes in (1, 100):
        assert values(text, block_bytes) == expected


@pytest.mark.parametrize(
    ("head", "lines"),
    [
        (b'{"text": "a"}\n{"text": "b"}', True),
        (b'{"text": "a"}', True),
        (b'{"text": "a long line that goes on', True),
        (b"{broken}\n{}", True),
        (b'{\n"text": "a"\n}', False),
        (b'[{"text": "a"}]', False),
        (b'[\n{"text": "a"}\n]', False),
    ],
)
def test_lines_are_told_from_arrays_and_long_objects(head: bytes, lines: bool) -> None:
    assert has_lines(head) == lines
