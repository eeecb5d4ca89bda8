"""Text given straight to a run: sharded on first use, found again by its content, and built by one rank alone."""

from __future__ import annotations

import functools
import gzip
import json
import os
import re
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from megatinybert.config.load import load_config
from megatinybert.config.shards import BuildOptions
from megatinybert.corpus import build, cache
from megatinybert.corpus.cache import shard_text
from megatinybert.corpus.encode import encode_blocks
from megatinybert.corpus.manifest import read_manifest
from megatinybert.runtime.files import file_lock
from tests.helpers.processes import GENERAL, exit_codes, start, start_ranks
from tests.helpers.toys import WORDS, free_port, metrics, recipe
from tests.helpers.warm_python import warm_python


def text(documents: int, seed: int = 0) -> str:
    """Documents of 40 words with a blank line between them."""
    lines = (" ".join(WORDS[(7 * d + i * i + seed) % len(WORDS)] for i in range(40)) for d in range(documents))
    return "\n\n".join(lines) + "\n"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with data/a.txt, data/b.txt and more/c.txt. Builds stay in this process."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cache, "BuildOptions", functools.partial(BuildOptions, workers=1))
    for name, documents in (("data/a.txt", 60), ("data/b.txt", 40), ("more/c.txt", 20)):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_text(text(documents, seed=documents))
    return tmp_path


@pytest.fixture
def shards(toy_inputs: Path) -> Callable[..., list[str]]:
    """`shard_text` with the options of a command line."""

    def call(*arguments: str) -> list[str]:
        config = load_config(["--teacher.model", "unused", *arguments])
        return shard_text(config.data, str(toy_inputs / "teacher"))

    return call


def test_warnings_are_left_to_the_run_which_tells_them_of_shards_that_were_there_too(
    place: Path, shards: Callable[..., list[str]], capfd: pytest.CaptureFixture[str]
) -> None:
    Path("foreign.txt").write_text("ζ w2 w3\n\nw1 η\n")
    (folder,) = shards("--data.text", "foreign.txt")
    warnings, said = read_manifest(Path(folder)).warnings, capfd.readouterr().err
    assert read_manifest(Path(folder)).totals["validation"]["documents"] == 0 and "validation-fraction" not in said
    assert any("of the tokens are [UNK]" in warning for warning in warnings)
    assert said.count("tokens/s") == 1 and not any(warning in said for warning in warnings)


def contents(folder: str | Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


def test_text_is_sharded_once_and_found_again_by_its_content(
    place: Path, shards: Callable[..., list[str]], capfd: pytest.CaptureFixture[str]
) -> None:
    (folder,) = shards("--data.text", "data/a.txt", "more", "data/b.txt")
    assert re.fullmatch(r"data/cache/a-[0-9a-f]{16}", folder)
    said = capfd.readouterr().err
    assert f"data: building the token shards of 3 files, 0.0 MB, in {folder}" in said and "tokens/s" in said
    built = contents(folder)
    assert sum(counts["documents"] for counts in read_manifest(Path(folder)).totals.values()) == 120

    shutil.copytree("more", "elsewhere/more")
    Path("data/a.txt").touch()
    assert shards("--data.text", "data/a.txt", "elsewhere/more", "data/b.txt") == [folder]
    assert capfd.readouterr().err == f"data: reusing the token shards in {folder}\n"
    assert contents(folder) == built


def test_what_is_left_aside_is_told_in_a_line_whenever_the_folder_is_named(
    place: Path, shards: Callable[..., list[str]], capfd: pytest.CaptureFixture[str]
) -> None:
    for name in ("notes.md", "paper.pdf"):
        Path("more", name).write_bytes(b"")
    line = "data: left aside, since not .txt, .jsonl, .json (each also .gz, .zst, .bz2 or .xz), .parquet or .arrow: "
    for _ in range(2):  # built, and there already
        shards("--data.text", "more")
        said = capfd.readouterr().err
        assert said.startswith(f"{line}more/notes.md, more/paper.pdf\n") and said.count("left aside") == 1
    shards("--data.text", "data/a.txt")
    assert "left aside" not in capfd.readouterr().err


def test_text_is_found_again_however_its_files_are_named(place: Path, shards: Callable[..., list[str]]) -> None:
    (folder,) = shards("--data.text", "data/a.txt", "data/b.txt")
    shutil.copytree("data", "rust", ignore=shutil.ignore_patterns("cache"))
    assert shards("--data.text", "rust") == shards("--data.text", "rust/*.txt") == [folder]
    Path("rust/b.txt").rename("rust/other.txt")
    assert shards("--data.text", "rust") == [folder]
    Path("rust/a.txt").rename("rust/a.jsonl")  # which is read in another way
    with pytest.raises(ValueError, match=r"a\.jsonl, line 1: not valid JSON"):
        shards("--data.text", "rust")


def test_more_of_a_small_text_is_held_out(place: Path, shards: Callable[..., list[str]]) -> None:
    body = text(1)
    for documents, share in ((40, 0.05), (27_000, 0.03), (85_000, 0.01)):
        numbers = (" ".join(WORDS[int(digit)] for digit in f"{number:06d}") for number in range(documents))
        Path("text.txt").write_text("\n\n".join(f"{number}\n{body}" for number in numbers))
        manifest = read_manifest(Path(shards("--data.text", "text.txt")[0]))
        assert manifest.options["validation_fraction"] == share
        assert manifest.totals["validation"]["documents"] == pytest.approx(share * documents, rel=0.1, abs=2)


def test_what_is_unfinished_is_not_taken_for_the_same_text(place: Path, shards: Callable[..., list[str]]) -> None:
    (folder,) = shards("--data.text", "data/a.txt")
    (Path(folder) / "manifest.json").unlink()
    shutil.copytree("data", "rust", ignore=shutil.ignore_patterns("cache", "b.txt"))
    (other,) = shards("--data.text", "rust")
    assert other != folder and Path(other).name.startswith("rust-")


def test_whatever_changes_the_shards_changes_the_folder(place: Path, shards: Callable[..., list[str]]) -> None:
    folders = [
        shards("--data.text", *words)[0]
        for words in (
            ["data/a.txt", "data/b.txt"],
            ["data/b.txt", "data/a.txt"],
            ["data/a.txt"],
            ["data/a.txt", "--data.document", "line"],
            ["data/a.txt", "--data.encoding", "latin-1"],
            ["data/a.txt", "--data.invalid_utf8", "replace"],
        )
    ]
    Path("data/a.txt").write_text(text(61))
    folders += shards("--data.text", "data/a.txt")
    assert len(set(folders)) == len(folders)


def test_patterns_that_the_shell_left_alone_are_expanded(place: Path, shards: Callable[..., list[str]]) -> None:
    (folder,) = shards("--data.text", "data/a.txt", "data/b.txt")
    assert shards("--data.text", "data/*.txt") == [folder]
    assert shards("--data.text", "**/[ab].txt") == [folder]
    with pytest.raises(ValueError, match=r"^--data.text data/\*.text: no file matches this pattern$"):
        shards("--data.text", "data/*.text")
    Path("data/[x].txt").write_text(text(3))  # a file's name is itself, also where it looks like a pattern
    assert shards("--data.text", "data/[x].txt")[0].startswith("data/cache/-x--")


def test_each_entry_of_a_mixture_is_a_corpus(place: Path, shards: Callable[..., list[str]]) -> None:
    both = shards("--data.text", "data/*.txt", "more", "--data.mixture", "3", "1")
    assert [Path(folder).name.split("-")[0] for folder in both] == ["a", "more"]
    names = [json.loads((Path(folder) / "manifest.json").read_text())["sources"] for folder in both]
    assert [[source["name"] for source in sources] for sources in names] == [["a.txt", "b.txt"], ["more/c.txt"]]


def test_other_formats_and_keys(place: Path, shards: Callable[..., list[str]]) -> None:
    lines = "".join(json.dumps({"body": line}) + "\n" for line in text(30).split("\n\n"))
    with gzip.open("pages.jsonl.gz", "wt") as file:
        file.write(lines)
    (folder,) = shards("--data.text", "pages.jsonl.gz", "--data.text_key", "body")
    assert Path(folder).name.startswith("pages-")
    with pytest.raises(ValueError, match=r"line 1: no key 'text' .* Name the key of the text with --data.text_key"):
        shards("--data.text", "pages.jsonl.gz")


def test_records_that_cannot_be_read_may_be_left_out(place: Path, shards: Callable[..., list[str]]) -> None:
    records = [json.dumps({"text": " ".join(WORDS[:20])})] * 3 + ['{"text": null}', "no JSON"]
    Path("a.jsonl").write_text("\n".join(records))
    with pytest.raises(ValueError, match=r"a\.jsonl, line 4: the value of 'text' is null"):
        shards("--data.text", "a.jsonl")
    with pytest.raises(ValueError, match=r"2 of 5 records .* more than --data\.skip_bad_records 0\.1"):
        shards("--data.text", "a.jsonl", "--data.skip_bad_records", "0.1")
    (folder,) = shards("--data.text", "a.jsonl", "--data.skip_bad_records", "0.5")
    listed = [json.loads(line) for line in (Path(folder) / "left_out.jsonl").read_text().splitlines()]
    assert [(entry["file"], entry["line"]) for entry in listed] == [("a.jsonl", 4), ("a.jsonl", 5)]
    manifest = read_manifest(Path(folder))
    assert (manifest.records, manifest.left_out_records) == (5, 2)
    assert shards("--data.text", "a.jsonl", "--data.skip_bad_records", "0.5") == [folder]


def test_mistakes_are_told_in_the_options_of_a_run(place: Path, shards: Callable[..., list[str]]) -> None:
    Path("data/bad.txt").write_bytes(b"w1 w2\n\nw3 \xb5\xff w4\n")
    Path("table.csv").write_text("w1\n")
    for arguments, expected in (
        (["nowhere.txt"], "--data.text nowhere.txt: no such file or folder"),
        (["table.csv"], "--data.text table.csv: not a "),
        (["data/a.txt", "data/a.txt"], "--data.text data/a.txt: named twice"),
        (["data/bad.txt"], "bad.txt, line 3: not valid"),
        (["data/bad.txt"], "or use --data.invalid_utf8 replace"),
        (["data/a.txt", "--data.encoding", "utf-99"], "--data.encoding utf-99"),
    ):
        with pytest.raises(ValueError) as caught:
            shards("--data.text", *arguments)
        assert expected in str(caught.value)
        assert not re.search(r"(?<!\S)--(input|output|tokenizer|encoding)\b", str(caught.value))
    assert Path(shards("--data.text", "data/bad.txt", "data/a.txt", "--data.invalid_utf8", "replace")[0]).is_dir()


def test_an_interrupted_build_is_continued(
    place: Path, shards: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    small = functools.partial(build.build_corpus, block_bytes=512, commit_seconds=0.0)
    monkeypatch.setattr(cache, "build_corpus", small)
    (whole,) = shards("--data.text", "data/a.txt", "--data.cache", "whole")
    encoded = 0

    def counting(limit: int) -> Callable[..., Iterator[object]]:
        def encode(*arguments: object) -> Iterator[object]:
            nonlocal encoded
            for encoded, block in enumerate(encode_blocks(*arguments), start=1):  # type: ignore[arg-type]
                if encoded > limit:
                    raise KeyboardInterrupt
                yield block

        return encode

    monkeypatch.setattr(build, "encode_blocks", counting(5))
    with pytest.raises(KeyboardInterrupt):
        shards("--data.text", "data/a.txt")
    assert not list(Path("data/cache").glob("*/manifest.json"))
    capfd.readouterr()
    monkeypatch.setattr(build, "encode_blocks", counting(1000))
    (folder,) = shards("--data.text", "data/a.txt")
    assert "data: going on with the token shards of 1 file," in capfd.readouterr().err
    blocks = Path("data/a.txt").stat().st_size // 512
    assert 2 < encoded < blocks
    assert contents(folder) == contents(whole)


def test_a_cache_that_cannot_be_made_is_named(place: Path, shards: Callable[..., list[str]]) -> None:
    (place / "a.txt").write_text(text(40))
    (place / "file").touch()
    with pytest.raises(ValueError, match=r"--data.cache file/cache cannot be made \(Not a directory\)"):
        shards("--data.text", "a.txt", "--data.cache", "file/cache")


def test_a_damaged_cache_is_named_and_not_trusted(place: Path, shards: Callable[..., list[str]]) -> None:
    (folder,) = shards("--data.text", "data/a.txt")
    (Path(folder) / "train-00000.bin").unlink()
    with pytest.raises(ValueError, match=rf"train-00000.bin is missing\n(.*\n)*--data.cache: delete {folder}"):
        shards("--data.text", "data/a.txt")
    shutil.rmtree(folder)
    assert shards("--data.text", "data/a.txt") == [folder]


def test_a_run_waits_for_another_one_that_builds_the_same(
    place: Path, shards: Callable[..., list[str]], capfd: pytest.CaptureFixture[str]
) -> None:
    (folder,) = shards("--data.text", "data/a.txt")
    found: list[list[str]] = []
    second = threading.Thread(target=lambda: found.append(shards("--data.text", "data/a.txt")))
    said = ""
    with file_lock(Path(f"{folder}.lock"), "", wait=True):
        second.start()
        while "waiting for it" not in said:
            second.join(0.05)
            assert second.is_alive()
            said += capfd.readouterr().err
    second.join(30)
    assert found == [[folder]]
    assert f"data: another run is building {folder}: waiting for it" in said


def test_two_processes_at_once_build_once(place: Path, toy_inputs: Path) -> None:
    Path("big.txt").write_text(text(4000))
    program = (
        "import sys\nfrom megatinybert.config.load import load_config\n"
        "from megatinybert.corpus.cache import shard_text\n"
        f"if __name__ == '__main__': print(shard_text(load_config(sys.argv[1:]).data, {str(toy_inputs / 'teacher')!r}))"
    )
    Path("shard.py").write_text(program)
    command = [sys.executable, "shard.py", "--teacher.model", "unused", "--data.text", "big.txt"]
    processes = [start(command, place / f"{i}.log", cwd=place) for i in range(2)]
    assert exit_codes(processes) == [0, 0], [(place / f"{i}.log").read_text() for i in range(2)]
    said = "".join((place / f"{i}.log").read_text() for i in range(2))
    assert said.count("data: building") == 1 and said.count("data: reusing") == 1


def test_rank_0_works_as_long_as_it_takes_and_all_ranks_hear_how_it_ended(tmp_path: Path) -> None:
    """The script's collectives wait for 3 seconds, and rank 0 works for 5."""
    ranks = start_ranks(2, ["tests/scripts/first.py"], [], tmp_path, python=warm_python())
    codes = exit_codes(ranks)
    said = [(tmp_path / f"rank-{rank}.log").read_text() for rank in (0, 1)]
    assert codes == [0, 0], said
    for printed in said:
        lines = [line for line in printed.splitlines() if line.startswith(("got", "refused", "1 of"))]
        assert lines == ["got ['made by rank 0']", "refused: the text is no text", "1 of 2"]


def run_options(inputs: Path, place: Path, run: str, *texts: str) -> list[str]:
    """A run on text; the option comes last, so that it ends with its words."""
    options = {
        "data.shards": "null",
        "student.hidden_dropout": 0,
        "data.cache": place / "cache",
        "run.output_dir": place / run,
        "run.max_steps": 2,
    }
    return [*recipe(inputs, **options), "--data.text", *texts]


def test_the_ways_to_start_a_run_build_and_reuse_alike(toy_inputs: Path, tmp_path: Path) -> None:
    """Two ranks of the launcher build with worker processes, then `sh` finds the shards; `python -m` builds anew."""
    for name, documents in (("a.txt", 300), ("b.txt", 200)):
        (tmp_path / name).write_text(text(documents, seed=documents))
    runs = {
        "two": (
            ["deepspeed", "--num_accelerators", "2", "--master_port", str(free_port()), "launch/general.sh"],
            "*.txt",
        ),
        "one": (["sh", "launch/general.sh"], "*.txt"),
        "module": ([*warm_python(), *GENERAL], "[ab].txt"),
    }
    said = {}
    for name, (command, pattern) in runs.items():
        options = run_options(toy_inputs, tmp_path, name, str(tmp_path / pattern))
        if name == "module":
            options += ["--data.cache", str(tmp_path / "fresh")]
        log = tmp_path / f"{name}.log"
        port = f"--num_accelerators 1 --master_port {free_port()}"
        process = start([*command, *options], log, DEEPSPEED_ARGS=port)
        assert exit_codes([process]) == [0], log.read_text()
        said[name] = log.read_text()
    workers = len(os.sched_getaffinity(0))
    for name in ("two", "module"):
        assert said[name].count("data: building") == 1 and f"with {workers} worker" in said[name]
    assert said["one"].count("data: reusing") == 1 and "data: building" not in said["one"]
    assert said["two"].count(" windows of 16 tokens") == 1
    losses = {name: [row.get("loss/total") for row in metrics(tmp_path / name)[1:]] for name in runs}
    assert losses["module"] == losses["one"] and len(losses["one"]) == 2
    assert losses["two"] == pytest.approx(losses["one"], rel=1e-5)
    folders = [next((tmp_path / folder).glob("a-*/manifest.json")).parent for folder in ("cache", "fresh")]
    assert contents(folders[0]) == contents(folders[1])


def test_text_that_cannot_be_read_ends_all_ranks(toy_inputs: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.txt").write_bytes(b"w1 w2\n\nw3 \xb5\xff w4\n")
    options = run_options(toy_inputs, tmp_path, "run", str(tmp_path / "bad.txt"))
    codes = exit_codes(start_ranks(2, GENERAL, options, tmp_path / "logs", python=warm_python()))
    said = [(tmp_path / "logs" / f"rank-{rank}.log").read_text() for rank in (0, 1)]
    assert codes == [2, 2], said
    assert said[0].count("error:") == 1 and "bad.txt, line 3: not valid" in said[0]
    assert "Traceback" not in said[0] + said[1] and "error:" not in said[1]
    assert not (tmp_path / "run" / "config.yaml").exists()


def test_no_text_is_built_for_a_run_that_cannot_start(toy_inputs: Path, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(text(30))
    options = run_options(toy_inputs, tmp_path, "run", str(tmp_path / "a.txt"))
    process = start([sys.executable, *GENERAL, *options, "--deepspeed", "nowhere"], tmp_path / "log")
    assert exit_codes([process]) == [2]
    assert "nowhere" in (tmp_path / "log").read_text()
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("named", [("data",), ("data/*",), ("data/**/*",), ("data/a.txt", "data/b.txt", "data/cache")])
def test_what_runs_keep_in_a_cache_beside_the_text_is_not_read(
    place: Path, shards: Callable[..., list[str]], named: tuple[str, ...], capfd: pytest.CaptureFixture[str]
) -> None:
    """In data/cache, as by default: it holds .json files."""
    (first,) = shards("--data.text", "data/a.txt", "data/b.txt")
    assert Path(first).is_relative_to("data/cache") and list(Path(first).glob("*.json"))
    capfd.readouterr()
    (again,) = shards("--data.text", *named)
    read = {source.name for source in read_manifest(Path(again)).sources}
    assert again == first and read == {"a.txt", "b.txt"}
    assert ("too, which is left out" in capfd.readouterr().err) == (named != ("data",))


def test_a_cache_is_no_text(place: Path, shards: Callable[..., list[str]]) -> None:
    shards("--data.text", "data/a.txt")
    for named in ("data/cache", "data/cache/*/*.json"):
        with pytest.raises(ValueError, match=r"--data.text data/cache.*: token shards that runs keep in --data.cache"):
            shards("--data.text", named)
