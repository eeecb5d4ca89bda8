"""The passages of a text: joined, cut, counted once, sampled."""

from __future__ import annotations

from megatinybert.programs.passages import cut_passages, even_sample


def _numbers(first: int, last: int) -> str:
    return " ".join(f"w{number}" for number in range(first, last))


def _words(count: int) -> str:
    return " ".join(["word"] * count)


def test_lines_of_a_document_are_joined_to_passages() -> None:
    documents = [
        [_words(15), _words(15), _words(15)],  # 30 and 15, which is too short
        [_words(21), _words(20)],  # 41, one too many
        [_words(19)],
        [_words(20), _words(20)],
    ]
    text = "\n \n\n".join("\n".join(lines) for lines in documents)
    assert [len(passage.split()) for passage in cut_passages(text)] == [30, 21, 20, 40]


def test_a_chinese_character_counts_as_half_a_word() -> None:
    assert cut_passages("\n".join(["天" * 30 + "。", "地" * 40, "天" * 30])) == ["天" * 30 + "。 " + "地" * 40]
    assert cut_passages(f"{'天' * 19} {_words(10)}") == []
    assert cut_passages(f"{'天' * 20} {_words(30)}\n天") == [f"{'天' * 20} {_words(30)}"]


def test_passages_do_not_reach_over_documents() -> None:
    assert cut_passages("\n".join([_words(18), "", _words(18)])) == []
    assert cut_passages("") == cut_passages("\n\n") == []


def test_the_sample_is_even() -> None:
    passages = [str(number) for number in range(10)]
    assert even_sample(passages, 5) == ["0", "2", "4", "6", "8"]
    assert even_sample(passages, 4) == ["0", "2", "5", "7"]
    assert even_sample(passages, 10) == even_sample(passages, 99) == passages


def test_a_long_line_is_cut_where_a_sentence_ends() -> None:
    line = f"{_numbers(0, 25)}. {_numbers(25, 47)}.) {_numbers(47, 71)}"
    assert cut_passages(line) == [f"{_numbers(0, 25)}.", f"{_numbers(25, 47)}.)", _numbers(47, 71)]


def test_a_long_line_without_sentences_is_cut_at_words_and_loses_none() -> None:
    for count in (41, 59, 60, 79, 81, 1001):
        passages = cut_passages(_numbers(0, count))
        assert " ".join(passages) == _numbers(0, count)
        assert all(20 <= len(passage.split()) <= 40 for passage in passages)


def test_the_end_of_a_long_line_is_joined_with_the_next() -> None:
    assert cut_passages(f"{_numbers(0, 30)}. {_numbers(30, 50)}.\n{_numbers(50, 60)}") == [
        f"{_numbers(0, 30)}.",
        f"{_numbers(30, 50)}. {_numbers(50, 60)}",
    ]


def test_a_long_chinese_line_is_cut_at_characters() -> None:
    text = f"{'天' * 48}。”{'地' * 60}、{'人' * 40}"
    assert cut_passages(text) == [f"{'天' * 48}。”", f"{'地' * 60}、", "人" * 40]
    text = "".join(map(chr, range(0x4E00, 0x4E00 + 201)))
    assert cut_passages(text) == [text[:80], text[80:160], text[160:]]


def test_a_long_chinese_line_is_cut_after_a_clause_where_no_sentence_ends() -> None:
    """Of the marks in reach that which ends most, whatever stands beside it."""
    comma, colon, semicolon = "\uff0c\uff1a\uff1b"
    pairs = [("。", comma), ("\uff01", colon), ("。”", comma), (semicolon, comma), (colon, "、"), (comma, "、")]
    for mark, weaker in [*pairs, (",", "、"), ("、", "天")]:
        for after in ("", "\uff08", "“", "BERT"):
            first, rest = f"{'天' * 44}{mark}", f"{after}{'地' * 16}{weaker}{'人' * 100}"
            assert cut_passages(first + rest)[0] == first, (mark, weaker, after)
    for latin in ("用 BERT。", f"BERT{comma}"):
        assert cut_passages(f"{'天' * 44}{latin}{'人' * 100}")[0] == f"{'天' * 44}{latin}"


def test_a_chinese_line_that_is_little_too_long_is_not_cut_inside_a_clause() -> None:
    comma = "\uff0c"
    whole = f"{'天' * 38}{comma}{'地' * 62}"
    assert cut_passages(whole) == [whole]
    assert cut_passages(f"{whole}人") == [f"{'天' * 38}{comma}{'地' * 23}", f"{'地' * 39}人"]
    assert cut_passages(f"{'天' * 42}{comma}{'地' * 58}") == [f"{'天' * 42}{comma}", "地" * 58]


def test_in_a_text_with_spaces_no_clause_is_looked_for() -> None:
    line = f"{_numbers(0, 25)}, {_numbers(25, 80)}"
    assert cut_passages(line)[0] == f"{_numbers(0, 25)}, {_numbers(25, 40)}"


def test_equal_passages_count_once() -> None:
    again = f"{_words(20)}\n\n"
    assert cut_passages(again + _numbers(0, 20) + "\n\n" + again) == [_words(20), _numbers(0, 20)]
