"""The corpus of the quickstart: what counts as prose, and that nothing is imported to find it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "data_prep"))  # also where the worker processes look

import collect_docs
from collect_docs import Source, clean_document, collect, corpus_text, fair_share, read_documents

SENTENCES = [
    "A window takes the tokens that follow each other in a shard, so that none of them is lost.",
    "The teacher is run without a graph, and only as deep as the objective looks at it.",
    "Every checkpoint is written to a temporary folder first, and then it is given its name.",
    "If the file does not exist, then it is made when the first value is written to it.",
]

NUMPY_STYLE = '''"""Mix the samples of a corpus in an order that is the same
on every machine.

Parameters
----------
x : array_like, shape (n, m)
    The samples to be mixed; they are not changed, because a copy
    of them is made first.

    .. versionadded:: 1.2

Returns
-------
out : ndarray
    An array of the same shape as the one that was given.

Notes
-----
See :func:`~numpy.random.shuffle` and *not* ``random.sample``, which is the
one that `the manual <https://example.org>`_ describes [1]_.

=====  =======
key    meaning
=====  =======
a      the first of the two that are in the table
=====  =======

Examples
--------
>>> mix([1, 2, 3])  # this is the example and it is not for reading
array([2, 3, 1])

Now the loop, for all of the values that are in it::

    for the in this_is: not_to_be(read, at=all)

The last paragraph is the one that is at the end of it.
"""
'''

GOOGLE_STYLE = '''def load(path, strict=True):
    """Loads what was saved before, and checks that all of it is there.

    Args:
        path (str or Path): The folder that was given when the model was saved to the
            disk, with all of its files.
        strict (bool, *optional*, defaults to True): Whether it is an error when some of the values
            are missing.

    Example:
    ```python
    model = load("the folder that is not to be in the text")
    ```

    - the first of two points is that it works like all of the others,
      as it should. See also:
    """
'''


def test_docstrings_of_every_style_become_paragraphs_of_prose(tmp_path: Path) -> None:
    (tmp_path / "numpy_style.py").write_text(NUMPY_STYLE)
    (tmp_path / "google_style.py").write_text(GOOGLE_STYLE)
    (numpy_style,) = read_documents(tmp_path / "numpy_style.py")
    (google_style,) = read_documents(tmp_path / "google_style.py")
    assert numpy_style == (
        "Mix the samples of a corpus in an order that is the same on every machine.",
        "The samples to be mixed; they are not changed, because a copy of them is made first.",
        "An array of the same shape as the one that was given.",
        "See numpy.random.shuffle and not random.sample, which is the one that the manual describes.",
        "The last paragraph is the one that is at the end of it.",
    )
    assert google_style == (
        "Loads what was saved before, and checks that all of it is there.",
        "The folder that was given when the model was saved to the disk, with all of its files.",
        "Whether it is an error when some of the values are missing.",
        "The first of two points is that it works like all of the others, as it should.",
    )


def test_docstrings_are_found_at_any_depth_and_nothing_runs(tmp_path: Path) -> None:
    source = f'''open({str(tmp_path / "ran")!r}, "w")
class A:
    """{SENTENCES[0]}"""
    async def f(self):
        """{SENTENCES[1]}"""
        def g():
            """{SENTENCES[2]}"""
raise SystemExit("imported")
'''
    (tmp_path / "module.py").write_text(source)
    assert read_documents(tmp_path / "module.py") == [tuple(SENTENCES[:3])]
    assert not (tmp_path / "ran").exists()


def test_help_topics_are_one_document_each(tmp_path: Path) -> None:
    (tmp_path / "pydoc_data").mkdir()
    topics = {"assert": f'The "assert" statement\n****\n\n{SENTENCES[0]}\n', "del": SENTENCES[1]}
    (tmp_path / "pydoc_data" / "topics.py").write_text(f"topics = {topics!r}\n")
    assert read_documents(tmp_path / "pydoc_data" / "topics.py") == [(SENTENCES[0],), (SENTENCES[1],)]


@pytest.mark.parametrize("content", [b"def f(:\n  '''no Python'''", b"'''\xff\xfe'''", b"x = '''\0'''", b""])
def test_a_file_that_cannot_be_read_as_source_gives_nothing(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "odd.py").write_bytes(content)
    assert read_documents(tmp_path / "odd.py") == []


@pytest.mark.parametrize(
    "text",
    [
        "Too short to keep.",
        "No sentence ends here although the line is as long as the others are",
        "torch.nn.functional.gelu(x), y = f(x)[0], z = g(y, k=3), a_b = c_d(e_f), i_j = k_l(m_n), o_p.",
        "Copyright of the authors, who reserve all of the rights that they have in the text.",
        "Der Wert ist immer derselbe, weil niemand ihn je verändert hat oder verändern könnte.",
        "這個句子不是用英文寫的, 因此它不應該出現在這裡 a the of and to in is it.",
        "| a | b | of the | and the | is the | to the | in the | for | with | as | at |.",
        "This is a line with a bell in it: \a, and that is not what a person would write.",
    ],
)
def test_what_does_not_read_as_english_is_left_out(text: str) -> None:
    assert clean_document([text, SENTENCES[3]]) == (SENTENCES[3],)


def test_fair_share_fills_up_to_the_total() -> None:
    assert fair_share([5, 100, 100], 45) == 20
    assert fair_share([5, 7], 100) == 7
    assert fair_share([10, 10], 5) == 2
    assert fair_share([], 5) == 0


def _sources(folder: Path) -> list[Source]:
    """A big package of 20 files and a small one of 1, which also repeats a paragraph of the big one."""
    files = []
    for number in range(20):
        file = folder / f"{number:02}.py"
        file.write_text('"""' + "\n\n".join(f"{'very ' * number}{line}" for line in SENTENCES) + '"""')
        files.append(file)
    small = folder / "README.md"
    small.write_text(f"# Title\n\n{SENTENCES[0].upper()}\n\nThis is the paragraph that only the small one has.\n")
    return [
        Source("big", tuple(files), ""),
        Source("small", (small,), "The text in its metadata is here too."),
    ]


def test_collect_drops_repetitions_and_does_not_depend_on_the_workers(tmp_path: Path) -> None:
    sources = _sources(tmp_path)
    found = collect(sources, 1_000_000, workers=1)
    assert found["small"] == [
        ("The text in its metadata is here too.",),
        ("This is the paragraph that only the small one has.",),
    ]
    assert [len(document) for document in found["big"]] == [4] * 20
    assert collect(sources, 1_000_000, workers=2) == found


def test_collect_cuts_the_biggest_package_to_its_share(tmp_path: Path) -> None:
    sources = _sources(tmp_path)
    whole, cut = collect(sources, 1_000_000, workers=1), collect(sources, 4_000, workers=1)
    assert cut["small"] == whole["small"]
    assert 0 < len(cut["big"]) < len(whole["big"])
    assert [document for document in whole["big"] if document in cut["big"]] == cut["big"]  # order kept
    assert 3_000 < len(corpus_text(cut["big"] + cut["small"]).encode()) <= 4_000


def test_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    sources = _sources(tmp_path)
    monkeypatch.setattr(collect_docs, "find_sources", lambda: sources)
    output = tmp_path / "new" / "corpus.txt"
    assert collect_docs.main(["--output", str(output)]) == 2
    assert "--minimum-megabytes 1" in capsys.readouterr().err and not output.exists()

    assert collect_docs.main(["--output", str(output), "--minimum-megabytes", "0.005"]) == 0
    assert "from 2 packages (big 0.0 MB" in capsys.readouterr().out
    documents = output.read_text().removesuffix("\n\n").split("\n\n")
    assert len(documents) == 22 and documents[0].splitlines() == SENTENCES
    first = output.read_bytes()
    assert collect_docs.main(["--output", str(output), "--minimum-megabytes", "0.005"]) == 0
    assert output.read_bytes() == first
    assert [path.name for path in output.parent.iterdir()] == ["corpus.txt"]

    assert collect_docs.main(["--output", str(output / "x.txt"), "--minimum-megabytes", "0.005"]) == 2
    assert "error: " in capsys.readouterr().err


def test_sources_of_this_environment() -> None:
    sources = {source.name: source for source in collect_docs.find_sources()}
    assert any(path.parts[-2:] == ("pydoc_data", "topics.py") for path in sources["python"].files)
    assert sources["numpy"].files and sources["tqdm"].description
    assert not any("tests" in path.parts for path in sources["numpy"].files)
    assert sum(path.stat().st_size for path in sources["torch"].files) <= collect_docs.SOURCE_BYTES_A_PACKAGE
