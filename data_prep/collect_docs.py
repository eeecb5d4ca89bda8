"""Gather the English documentation that ships inside Python and its installed packages as one text file.

    python data_prep/collect_docs.py --output corpus.txt

The quickstart's corpus: real prose on any machine, with nothing to download. Docstrings (found by parsing
source with `ast`: nothing is imported or run), Python's help topics, READMEs and package descriptions are
cleaned down to paragraphs that read as English. One paragraph a line, a blank line between documents; a
document is one source file, help topic or README. The same environment gives the same bytes. The text stays
on this machine; nothing of it is part of the project.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import importlib.metadata
import itertools
import multiprocessing
import re
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # also where the package is not installed

from megatinybert.runtime.files import write_atomically
from megatinybert.runtime.progress_bar import progress_bar
from megatinybert.runtime.workers import usable_cores

Document = tuple[str, ...]  # its paragraphs, one line each

# Folders of a package that hold its tests, other people's packages, or lawyers' English.
LEFT_OUT_FOLDERS = {"test", "tests", "testing", "idle_test", "_vendor", "_vendored", "licenses", "templates"}
LEFT_OUT_FILES = re.compile(r"(licen[cs]e|copying|notice|authors|test_|generated)", re.IGNORECASE)
# A package with more Python source than this is sampled: the biggest ones would otherwise fill the corpus
# and take most of the time.
SOURCE_BYTES_A_PACKAGE = 8_000_000


class Source(NamedTuple):
    """A package (or Python itself): its name, its files, and the long description in its metadata."""

    name: str
    files: tuple[Path, ...]
    description: str


def find_sources() -> list[Source]:
    """The standard library and every installed distribution, sorted by name."""
    library = Path(sysconfig.get_paths()["stdlib"])
    files = (path for path in library.rglob("*.py") if "site-packages" not in path.relative_to(library).parts)
    sources = {"python": Source("python", _wanted(library, files, limit=None), "")}
    for distribution in importlib.metadata.distributions():
        name = (distribution.name or "").lower()
        if not name or name in sources:
            continue
        root = Path(str(distribution.locate_file("")))
        files = (root / str(file) for file in distribution.files or [])
        descriptions = distribution.metadata.get_all("Description")
        sources[name] = Source(name, _wanted(root, files, SOURCE_BYTES_A_PACKAGE), "".join(descriptions or []))
    return [sources[name] for name in sorted(sources)]


def _wanted(root: Path, files: Iterable[Path], limit: int | None) -> tuple[Path, ...]:
    """Those `files` worth reading, sorted; above `limit` bytes the first ones in hash order."""
    chosen, total = [], 0
    for path in sorted(files, key=lambda path: _digest(path.relative_to(root).as_posix())):
        inner = path.relative_to(root)
        if path.suffix not in (".py", ".md", ".rst") or LEFT_OUT_FILES.match(path.name):
            continue
        if LEFT_OUT_FOLDERS & {part.lower() for part in inner.parts[:-1]} or not path.is_file():
            continue
        total += path.stat().st_size
        if limit is not None and total > limit:
            break
        chosen.append(path)
    return tuple(sorted(chosen))


def read_documents(path: Path) -> list[Document]:
    """The cleaned documents of one file: its docstrings together, each help topic apart, or the whole text.

    A file that is not valid UTF-8 or not valid Python gives none: packages hold such files on purpose.
    """
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix != ".py":
            texts = [[text]]
        elif '"""' in text or "'''" in text or path.name == "topics.py":
            tree = ast.parse(text)
            texts = [list(_docstrings(tree)), *([topic] for topic in _topics(tree, path))]
        else:
            texts = []
    except (UnicodeDecodeError, SyntaxError, ValueError, RecursionError):
        return []
    return [document for group in texts if (document := clean_document(group))]


def _docstrings(node: ast.AST) -> Iterator[str]:
    """Docstrings of a module, its classes and its functions, in the order of the source."""
    if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
        docstring = ast.get_docstring(node)
        if docstring:
            yield docstring
    for child in getattr(node, "body", []):
        if isinstance(child, ast.stmt):
            yield from _docstrings(child)


def _topics(tree: ast.Module, path: Path) -> Iterator[str]:
    """The texts of `pydoc_data/topics.py`, a module whose one value is a dict of help pages."""
    if path.parent.name != "pydoc_data":
        return
    for statement in tree.body:
        if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Dict):
            yield from (str(topic) for topic in ast.literal_eval(statement.value).values())


BULLET = re.compile(r"(?:[-*+•]|\(?\d{1,2}[.)]|\(?[a-z]\)|#\.)\s+(?=\S)")
# "name (type, *optional*): text", "name: text", ":param name: text", "@param name: text"
FIELD = re.compile(r"(?::\w[^:]*:|@\w+ \w+:?|[`*\"']*[\w.*\\]+[`*\"']*(?:,\s*[\w.*]+)*\s*(?:\(.*?\)+)?:)(?:\s+|$)")
TYPED_NAME = re.compile(r"[`*]*[\w*.\\, ]+[`*]* : \S")  # numpydoc's "name : type" above the text
NOTE = re.compile(r"\.\. (?:note|warning|important|tip|seealso|deprecated|version\w+)::\s*(?:[\d.]+$)?")
DIRECTIVE = re.compile(r"\.\. \S|__ \S")
FENCE = re.compile(r"```|~~~(?!~)|\$\$|:::")
DOCTEST = re.compile(r">>>|In \[")
MARKUP = [
    (re.compile(r"<!--.*?-->|</?[a-zA-Z][^<>]*>"), ""),
    (re.compile(r"!\[[^\]]*\]\([^)]*\)"), ""),  # pictures
    (re.compile(r"\[([^\]]+)\]\([^)]*\)"), r"\1"),  # [text](address)
    (re.compile(r"`([^`<>]+?)\s*<[^`<>]+>`_*"), r"\1"),  # `text <address>`_
    (re.compile(r":[\w:+-]+:`[~!.]?(?:[^`<>]+<)?([^`<>]+)>?`"), r"\1"),  # :role:`name`
    (re.compile(r"\s*\[(?:\d+|#\w*|[A-Z]\w*\d+)\]_?"), ""),  # footnote marks
    (re.compile(r"`+([^`]+)`+_*"), r"\1"),
    (re.compile(r"\*\*([^*]+)\*\*"), r"\1"),
    (re.compile(r"(?<![\w*])\*([^*\s](?:[^*]*[^*\s])?)\*(?![\w*])"), r"\1"),
    (re.compile(r"\|(\w+)\|_*"), r"\1"),
    (re.compile(r"\\([*_`|])"), r"\1"),
    (re.compile(r"\s+"), " "),
]
SENTENCE_END = re.compile(r"(?<!e\.g)(?<!i\.e)(?<!\bcf)(?<!\bvs)[.!?][\"')\]]*(?=\s|$)")
LAWYERS = re.compile(r"copyright|licen[cs]e|warrant(?:y|ies)|all rights reserved", re.IGNORECASE)
COMMON_WORDS = frozenset(
    """
    a about after all also an and any are as at be because been before between both but by can cannot
    could do does each either every few first for from given has have how however if in instead into is it
    its just like made make many may more most much must need no not of often on once one only or other
    over same see several should since so some such than that the their them then there these they this
    those through to two under until use used using was we were what when where whether which while who
    will with within without would you your
    """.split()  # noqa: SIM905 - easier to read and to change than a list
)


def clean_document(texts: Iterable[str]) -> Document:
    """The paragraphs of `texts` that read as English prose, in order, markup removed."""
    raw = (paragraph for text in texts for paragraph in unwrap(visible_lines(text)))
    paragraphs = (tidy(paragraph) for paragraph in raw if len(paragraph) > 30)
    return tuple(paragraph for paragraph in paragraphs if is_prose(paragraph))


def visible_lines(text: str) -> Iterator[tuple[int, str]]:
    """(indentation, stripped line) of `text` without code, doctests, literal blocks and directives.

    An empty line stands where something was left out.
    """
    fence = ""  # the mark that closes the fenced block we are in
    doctest = False  # until the next empty line
    block: int | None = None  # the depth of a directive or of "::": what is deeper belongs to it
    for raw in text.expandtabs().splitlines():
        line, indent = raw.strip(), len(raw) - len(raw.lstrip())
        note = NOTE.match(line)
        if fence:
            fence = "" if line.startswith(fence) else fence
            line = ""
        elif not line:
            doctest = False
        elif doctest or (block is not None and indent > block):
            line = ""
        else:
            block = None
            if note:
                line = line[note.end() :]
            elif FENCE.match(line):
                fence, line = line[:2] if line.startswith("$$") else line[:3], ""
            elif DOCTEST.match(line):
                doctest, line = True, ""
            elif DIRECTIVE.match(line):
                block, line = indent, ""
            elif not any(map(str.isalnum, line)):  # the rule below a title or around a table
                line = ""
            elif line.endswith("::"):
                block = indent
        yield indent, line


def unwrap(lines: Iterable[tuple[int, str]]) -> Iterator[str]:
    """Join hard-wrapped (indentation, line) pairs into paragraphs.

    Indentation carries the structure of every docstring style: a list item or field takes the deeper lines
    below it; any other change of depth, and every empty line, ends a paragraph.
    """
    parts: list[str] = []
    depth, hanging = 0, False
    for indent, line in lines:
        bullet, field = BULLET.match(line), FIELD.match(line)
        item = bullet or (field if not parts or hanging or indent != depth else None)
        if parts and not item and line and (indent > depth if hanging else indent == depth):
            parts.append(line)
            continue
        yield " ".join(parts)
        parts = []
        if line and not TYPED_NAME.match(line):
            parts = [line[item.end() :] if item else line]
            depth, hanging = indent, item is not None
    yield " ".join(parts)


def tidy(paragraph: str) -> str:
    """`paragraph` without inline markup, ending at its last whole sentence."""
    for pattern, replacement in MARKUP:
        paragraph = pattern.sub(replacement, paragraph)
    ends = [match.end() for match in SENTENCE_END.finditer(paragraph)]
    paragraph = paragraph[: ends[-1]].strip() if ends else ""
    first = paragraph.split(" ", 1)[0]
    return paragraph[0].upper() + paragraph[1:] if first.isalpha() and first.islower() else paragraph


def is_prose(paragraph: str) -> bool:
    """Whether `paragraph` reads as English sentences: long enough, of words, held together by common ones."""
    words = paragraph.split()
    if len(words) < 8 or len(words) > 400 or not (paragraph[0].isalnum() or paragraph[0] in "\"'("):
        return False
    if LAWYERS.search(paragraph) or not paragraph.isprintable():
        return False
    plain = [word.strip("\"'().,;:!?-") for word in words]
    share_common = sum(word.lower() in COMMON_WORDS for word in plain) / len(words)
    share_plain = sum(word.replace("-", "").replace("'", "").isalpha() for word in plain) / len(words)
    share_letters = sum(map(str.isalpha, paragraph)) / (len(paragraph) - len(words) + 1)
    share_ascii = sum(map(str.isascii, paragraph)) / len(paragraph)
    return share_common >= 0.25 and share_plain >= 0.8 and share_letters >= 0.85 and share_ascii >= 0.98


def collect(sources: Sequence[Source], maximum_bytes: int, workers: int) -> dict[str, list[Document]]:
    """The documents of each source by its name: no paragraph twice, at most `maximum_bytes` in all.

    When there is more, no source keeps more than its fair share, and its documents above that are left out in
    hash order. The result depends on the sources alone, not on `workers` (processes).
    """
    files = [path for source in sources for path in source.files]
    seen: set[bytes] = set()
    found: dict[str, list[Document]] = {}
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        results = iter(pool.map(read_documents, files, chunksize=16))
        progress = progress_bar(len(files), " files", desc="reading")
        for source in sources:
            documents = [clean_document([source.description])]
            for _ in source.files:
                documents += next(results)
                progress.update()
            unique = (_without(seen, document) for document in documents)
            found[source.name] = [document for document in unique if document]
        progress.close()
    share = fair_share([sum(map(_size, documents)) for documents in found.values()], maximum_bytes)
    return {name: _within(share, documents) for name, documents in found.items() if documents}


def fair_share(sizes: Sequence[int], total: int) -> int:
    """The largest share such that `sizes`, each cut down to it, add up to at most `total` (water filling)."""
    left = total
    for rank, size in enumerate(sorted(sizes)):
        share = left // (len(sizes) - rank)
        if size > share:
            return share
        left -= size
    return max(sizes, default=0)


def _within(share: int, documents: list[Document]) -> list[Document]:
    """Those of `documents`, chosen in hash order, that fit into `share` bytes; in their own order."""
    chosen, used = set(), 0
    for index in sorted(range(len(documents)), key=lambda index: _digest(documents[index][0])):
        if used + _size(documents[index]) <= share:
            used += _size(documents[index])
            chosen.add(index)
    return [document for index, document in enumerate(documents) if index in chosen]


def _without(seen: set[bytes], document: Document) -> Document:
    """`document` less the paragraphs in `seen` (letter case, digits and punctuation aside), which grows."""
    kept = []
    for paragraph in document:
        key = _digest(re.sub(r"[\W\d]+", " ", paragraph).lower())
        if key not in seen:
            seen.add(key)
            kept.append(paragraph)
    return tuple(kept)


def _size(document: Document) -> int:
    """Bytes the document takes in the output file."""
    return sum(len(paragraph.encode()) + 1 for paragraph in document) + 1


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=12).digest()


def corpus_text(documents: Iterable[Document]) -> str:
    """The file: a paragraph a line, an empty line after each document."""
    return "".join("\n".join(document) + "\n\n" for document in documents)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    add = parser.add_argument
    add("--output", type=Path, required=True, metavar="FILE.txt", help="the text file to write")
    add("--minimum-megabytes", type=float, default=1.0, help="less text is an error (default %(default)s)")
    add("--maximum-megabytes", type=float, default=12.0, help="keep no more text (default %(default)s)")
    options = parser.parse_args(arguments)
    found = collect(find_sources(), int(options.maximum_megabytes * 1e6), usable_cores())
    megabytes = {name: sum(map(_size, documents)) / 1e6 for name, documents in found.items()}
    total = sum(megabytes.values())
    try:
        if total < options.minimum_megabytes:
            raise ValueError(
                f"only {total:.2f} MB of English text in {len(found)} packages, less than "
                f"--minimum-megabytes {options.minimum_megabytes:g}. Run this with the Python that has "
                "the project's packages (make setup), or lower that option."
            )
        options.output.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(options.output, corpus_text(itertools.chain.from_iterable(found.values())))
    except (OSError, ValueError) as problem:
        print(f"error: {problem}", file=sys.stderr)
        return 2
    largest = [f"{n} {megabytes[n]:.1f} MB" for n in sorted(megabytes, key=lambda n: -megabytes[n])[:8]]
    paragraphs = sum(len(document) for documents in found.values() for document in documents)
    print(
        f"{options.output}: {total:.1f} MB, {paragraphs:,} paragraphs in {sum(map(len, found.values())):,} "
        f"documents from {len(found)} packages ({', '.join(largest)}, ...)"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
