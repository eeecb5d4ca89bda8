"""What is wrong with the files of a text is told before anything heavy is loaded, or built of them."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from megatinybert.config.data import DataConfig
from megatinybert.config.load import load_config
from megatinybert.config.schema import ConfigError
from megatinybert.corpus import cache
from megatinybert.corpus.blocks import BLOCK_BYTES, ReadSettings, read_blocks
from megatinybert.corpus.documents import split_documents
from megatinybert.corpus.run_text import NAMES, sources_of
from megatinybert.corpus.wrong_text import READ_WHOLE, unknown_text, wrong_text
from megatinybert.general import read_arguments
from tests.helpers.toys import REPOSITORY, environment, write_teacher

CHINESE = "春眠不觉晓、处处闻啼鸟。夜来风雨声、花落知多少。\n"
JAPANESE = "これは日本語の文章です。吾輩は猫である。名前はまだ無い。\n"
FRENCH = "un café, «oui», ça va: où, à côté?\n".encode("cp1252")


@pytest.fixture
def wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """`wrong_text` of files of these contents, in the working directory."""
    monkeypatch.chdir(tmp_path)

    def write(files: dict[str, bytes], **options: object) -> list[str]:
        for name, content in files.items():
            Path(name).write_bytes(content)
        return wrong_text(DataConfig.model_validate({"text": list(files), **options}))

    return write


def test_an_encoding_is_told_as_the_run_would(wrong: Callable[..., list[str]]) -> None:
    (problem,) = wrong({"plain.txt": b"plain\n", "a.txt": b"plain\n" * 30 + FRENCH})
    given = DataConfig(text=["a.txt"])
    settings = ReadSettings.of(given, 1 << 21, NAMES)
    with pytest.raises(ValueError) as caught:
        for block in read_blocks(sources_of(given), settings):
            split_documents(block, "text", False, NAMES)
    assert problem == str(caught.value) and problem.startswith("a.txt, line 31: not valid UTF-8 (byte 0xe9). ")
    assert "use --data.encoding cp1252" in problem and "--data.invalid_utf8 replace" in problem
    for options in ({"encoding": "cp1252"}, {"invalid_utf8": "replace"}, {"skip_bad_records": 0.5}):
        assert wrong({"a.txt": b"plain\n" * 30 + FRENCH}, **options) == []
    assert "not valid gb18030" in wrong({"a.txt": b"plain \xff\n"}, encoding="gb18030")[0]


def test_each_file_is_told_and_of_many_the_first(wrong: Callable[..., list[str]]) -> None:
    lines = b'{"text": "fine"}\n'
    problems = wrong({"a.jsonl": b'{"body": "fine"}\n', "b.jsonl": lines + b'{"text": "\xe9"}\n', "c.jsonl": lines})
    assert ["no key 'text'" in problems[1], "b.jsonl, line 2: not valid UTF-8" in problems[0]] == [True, True]
    assert len(problems) == 2 and "--data.text_key" in problems[1]
    assert "value 1: no key 'text'" in wrong({"a.json": b'[{"body": "fine"}]'})[0]
    problems = wrong({f"{number}.jsonl": b'{"body": "fine"}\n' for number in range(7)})
    assert [problem.split(",")[0] for problem in problems[:5]] == [f"{number}.jsonl" for number in range(5)]
    assert problems[5:] == ["--data.text: 2 more files like these"]


def test_files_in_one_other_encoding_are_told_at_once_with_one_remedy(wrong: Callable[..., list[str]]) -> None:
    chinese, japanese = (CHINESE * 2).encode("gb18030"), (JAPANESE * 2).encode("shift_jis")
    files = {"a.txt": CHINESE.encode(), "b.txt": chinese, "c.txt": b"plain\n" + chinese, "d.txt": japanese}
    together, alone = wrong(files)
    assert together.startswith("b.txt, c.txt: not valid UTF-8 (byte 0xb4), in line 1 of the first. These bytes are val")
    assert "if all files are, use --data.encoding gb18030; to lose" in together
    assert "otherwise put copies in utf-8 into their places: for f in b.txt c.txt; do iconv -f gb18030 " in together
    assert alone.startswith("d.txt, line 1: ") and "iconv -f shift-jis -t utf-8 d.txt > " in alone
    (problem,) = wrong({"b.txt": chinese, "c.txt": chinese})  # of a text that has no others
    assert ": use --data.encoding gb18030; to lose" in problem and "; or put copies in utf-8 into" in problem
    assert wrong({"b.txt": chinese, "c.txt": chinese}, encoding="gb18030") == []
    record = json.dumps({"text": CHINESE}, ensure_ascii=False) + "\n"
    (problem,) = wrong({"b.txt": chinese, "c.jsonl": record.encode("gb18030")})
    assert "for f in b.txt c.jsonl; do" in problem


def test_how_many_files_were_looked_at_is_told(wrong: Callable[..., list[str]]) -> None:
    files = {f"{number:03}.txt": CHINESE.encode("gb18030") for number in range(130)}
    problem, seen = wrong(files)
    assert problem.startswith("000.txt, 001.txt, 002.txt, 003.txt, 004.txt and 123 more: ")
    assert " 127.txt; do" in problem
    assert seen == "--data.text: of 130 files the first 128 were looked at: others may be like these"


def test_a_build_is_told_of_all_files_at_once_too(tmp_path: Path, tokenizer: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.txt").write_bytes(CHINESE.encode("gb18030"))
    command = [sys.executable, "data_prep/build_shards.py", "--input", str(tmp_path), "--tokenizer", str(tokenizer)]
    command += ["--output", str(tmp_path / "shards")]
    done = subprocess.run(command, cwd=REPOSITORY, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 1 and not (tmp_path / "shards").exists()
    assert done.stderr.startswith(f"error: {tmp_path}/a.txt, {tmp_path}/b.txt: not valid UTF-8"), done.stderr
    assert ": use --encoding gb18030; to lose these characters, use --invalid-utf8 replace; or put" in done.stderr
    again = subprocess.run(
        [*command, "--encoding", "gb18030"], cwd=REPOSITORY, env=environment(), capture_output=True, text=True
    )
    assert again.returncode in (0, 1) and (tmp_path / "shards" / "manifest.json").is_file(), again.stderr


@pytest.mark.parametrize("said", ["cp1252", "latin-1", "ascii", "big5"])
def test_no_copy_is_asked_for_in_an_encoding_that_cannot_hold_the_text(
    wrong: Callable[..., list[str]], said: str
) -> None:
    alone = wrong({"a.txt": CHINESE.encode() * 9}, encoding=said)
    name = said.replace("latin-1", "iso8859-1")
    assert alone == [f"a.txt: not {name} but UTF-8: leave --data.encoding out"]
    (problem,) = wrong({"a.txt": CHINESE.encode() * 9, "b.txt": b"plain\n"}, encoding=said)
    assert f"-t {name}" not in problem and "if all files are, leave --data.encoding out; otherwise leave" in problem
    assert f"since {name} has no '" in problem and f"iconv -f {name} -t utf-8 FILE > COPY" in problem
    assert " into its place: iconv -f utf-8 -t gb18030 a.txt" in "".join(
        wrong({"a.txt": CHINESE.encode() * 9, "b.txt": b"plain\n"}, encoding="gb18030")
    )


def test_large_files_give_their_beginning(wrong: Callable[..., list[str]]) -> None:
    line = b"plain text of many lines\n"
    most = READ_WHOLE // len(line)
    assert "line 11:" in wrong({"a.txt": line * 10 + FRENCH + line * 2 * most})[0]
    assert wrong({"a.txt": line * 2 * most + FRENCH}) == []
    # One line may be longer than memory.
    assert wrong({"a.txt": line.strip() * (READ_WHOLE // 20) + FRENCH}) == []
    whole = line * (most - 10) + FRENCH
    assert f"line {most - 9:,}:" in wrong({"a.txt": whole})[0]
    records = json.dumps({"text": "é" * 100}, ensure_ascii=False).encode() + b"\n"
    late = records * (READ_WHOLE // len(records) - 10) + b'{"text": "\xe9"}\n{"body": "not looked at"}\n'
    assert [
        f"line {READ_WHOLE // len(records) - 9:,}: not valid UTF-8" in said for said in wrong({"a.jsonl": late})
    ] == [True]


def test_it_is_told_as_the_command_line_is_read_with_other_mistakes(tmp_path: Path) -> None:
    text = tmp_path / "a.txt"
    text.write_bytes(FRENCH)
    teacher = write_teacher(tmp_path / "teacher")
    command = ["--teacher.model", str(teacher), "--data.text", str(text), "--run.output_dir", str(tmp_path / "run")]

    def told(*more: str) -> list[str]:
        with pytest.raises(ConfigError) as caught:
            read_arguments([*command, *more], look=True)
        return caught.value.problems

    said = f"{text}, line 1: not valid UTF-8 (byte 0xe9)"
    (problem,) = told()
    assert problem.startswith(said)
    seed, problem = told("--run.seed", "x")
    assert "run.seed" in seed and problem.startswith(said)
    # By an option that is misspelt, the text may be read otherwise.
    assert not any(problem.startswith(said) for problem in told("--data.skip", "0.5"))
    assert len(told("--data.encodin", "cp1252")) == 1
    assert len(told("--data.shards", str(tmp_path))) == 1  # beside which the text is not read


def test_no_torch_is_loaded_for_it(tmp_path: Path) -> None:
    text, teacher = tmp_path / "a.txt", write_teacher(tmp_path / "teacher")
    text.write_bytes(FRENCH)
    program = (
        "import sys\n"
        "from megatinybert.general import main\n"
        "try:\n"
        "    main()\n"
        "except SystemExit as end:\n"
        "    sys.exit(100 * ('torch' in sys.modules) + end.code)\n"
    )
    command = [sys.executable, "-c", program, "--teacher.model", str(teacher), "--data.text", str(text)]
    done = subprocess.run(command, cwd=REPOSITORY, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith(f"error: {text}, line 1: not valid UTF-8")


@pytest.mark.parametrize(("known", "told"), [(1, True), (300, False)])
def test_a_text_that_the_tokenizer_does_not_know_is_told_before_it_is_built(
    known: int, told: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a run in a folder of the teacher, without torch; by whatever reads the tokenizer, before shards are made."""
    monkeypatch.chdir(tmp_path)
    file = str(write_teacher(tmp_path / "teacher") / "tokenizer.json")
    tokenizer = Tokenizer.from_file(file)
    tokenizer.enable_padding(length=512)  # as the files of teachers that embed sentences ask for
    tokenizer.enable_truncation(8)
    tokenizer.save(file)
    for number in range(6):
        Path(f"{number}.txt").write_text(CHINESE * 100, encoding="utf-8")
    Path("0.txt").write_text("w1 w2\n" * 40 * known, encoding="utf-8")
    texts = sorted(map(str, Path().glob("*.txt")))
    options = ["--teacher.model=./teacher", "--objective.attention_weight=0", "--data.text", *texts]
    monkeypatch.setattr(cache, "build_corpus", lambda *_, **__: pytest.fail("built"))
    if not told:
        read_arguments(options, look=True)
        return
    message = r"--data.text 0.txt, 1.txt, 2.txt, 3.txt and 2 more: in a sample 9\d.\d % of the tokens are \[UNK\], of"
    with pytest.raises(ConfigError, match=message):
        read_arguments(options, look=True)
    with pytest.raises(ValueError, match=message):
        cache.shard_text(load_config(options).data, "teacher")


@pytest.fixture
def unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """`unknown_text` of files of these contents, to a tokenizer of Latin words."""
    monkeypatch.chdir(tmp_path)
    tokenizer = Tokenizer.from_file(str(write_teacher(tmp_path / "teacher") / "tokenizer.json"))

    def write(files: dict[str, bytes], **options: object) -> list[str]:
        for name, content in files.items():
            Path(name).write_bytes(content)
        config = DataConfig.model_validate({"text": list(files), **options})
        settings = ReadSettings.of(config, BLOCK_BYTES, NAMES)
        return unknown_text(sources_of(config), settings, tokenizer, "teacher")

    return write


KNOWN, UNKNOWN = "w1 w2 w3 w4 w5 w6 w7 w8\n" * 6000, CHINESE * 2000  # 144 kB each, and of about as many tokens


@pytest.mark.parametrize("encoding", ["utf-8", "gb18030", "utf-16-le", "utf-32-be"])
@pytest.mark.parametrize("suffix", ["txt", "jsonl"])
def test_a_large_file_is_judged_by_places_all_over_it(
    encoding: str, suffix: str, unknown: Callable[..., list[str]]
) -> None:
    def told(text: str) -> bool:
        if suffix == "jsonl":
            text = "".join(json.dumps({"text": line}, ensure_ascii=False) + "\n" for line in text.splitlines())
        return bool(unknown({f"a.{suffix}": text.encode(encoding)}, encoding=encoding))

    assert told(UNKNOWN * 5)
    assert not told(UNKNOWN + KNOWN * 4)  # known but for a preface
    assert told(KNOWN + UNKNOWN * 4)


def test_the_beginning_alone_of_a_large_file_tells_nothing(unknown: Callable[..., list[str]]) -> None:
    lines = [f"{CHINESE.strip()}{number}\n" for number in range(20_000)]
    packed = gzip.compress("".join(lines).encode(), 1)
    values = json.dumps([{"text": line} for line in lines], ensure_ascii=False).encode()
    for name, content in {"a.txt.gz": packed, "a.json": values}.items():
        assert len(content) > 1 << 15
        assert unknown({name: content}) == []
        assert unknown({name: content, "b.txt": CHINESE.encode()}) == []
        several = {f"{number}-{name}": content for number in range(4)}
        assert "0-a" in unknown(several)[0]
    assert "b.txt.gz: in a sample 100" in unknown({"b.txt.gz": gzip.compress("".join(lines[:1000]).encode())})[0]


def test_where_lines_are_too_long_to_see_one_nothing_is_said(unknown: Callable[..., list[str]]) -> None:
    line = KNOWN.replace("\n", " ")
    assert unknown({"a.txt": (CHINESE * 1000 + line + "\n" + CHINESE * 1000).encode()}) == []
    assert unknown({"a.txt": UNKNOWN.replace("\n", "").encode()}) == []
