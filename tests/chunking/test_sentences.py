"""Where sentences end, in the scripts of many languages."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arshai_kit.chunking import sentences
from tests.chunking.documents import anything

SENTENCES = {
    "English": ["Mr. Smith paid $3.50.", "Why?", "“I know!” he said (so he did).", "See Fig. 3, e.g. the U.S. map."],
    "German": ["Das kostet z.B. 3,50 €.", "Siehe Abs. 2 und Nr. 5!", "„Wirklich?“", "Ja, Dr. Weiß."],
    "French": ["M. Dupont est arrivé.", "« Pourquoi ? » dit-il.", "Voir pp. 3 à 5."],
    "Spanish": ["¿Dónde está el Sr. García?", "¡No lo sé!", "Véase la pág. 7."],
    "Russian": ["Москва — столица, т.е. главный город.", "Почему?", "См. рис. 4."],
    "Greek": ["Η Αθήνα είναι πόλη.", "Πού είναι;", "Εδώ."],
    "Persian": ["تهران پایتخت ایران است.", "کجاست؟", "نمی‌دانم!"],
    "Arabic": ["القاهرة عاصمة مصر.", "أين هي؟", "لا أعرف."],
    "Urdu": ["اسلام آباد دارالحکومت ہے۔", "کہاں؟", "یہاں۔"],
    "Hebrew": ["ירושלים היא עיר.", "למה?", "ככה."],
    "Hindi": ["दिल्ली राजधानी है।", "क्यों?", "पता नहीं।"],
    "Chinese": ["北京是首都。", "为什么？", "“我知道！”", "他说。"],
    "Japanese": ["東京は首都です。", "「なぜ？」", "知りません。"],
    "Korean": ["서울은 수도입니다.", "왜요?", "몰라요."],
    "Amharic": ["አዲስ አበባ ዋና ከተማ ናት።", "የት?"],
    "Armenian": ["Երևանը մայրաքաղաքն է։", "Այո։"],
    "Burmese": ["နေပြည်တော်သည် မြို့တော်ဖြစ်သည်။", "ဟုတ်ကဲ့။"],
    "Turkish": ["Ankara başkenttir.", "Neden?", "Bilmiyorum…"],
}


@pytest.mark.parametrize("language", SENTENCES)
@pytest.mark.parametrize("gap", [" ", "\n", "  \n"])
def test_sentences_end_where_they_do(language: str, gap: str) -> None:
    expected = SENTENCES[language]
    text = gap.join(expected)
    found = [" ".join(text[start:end].split()) for start, end in sentences(text)]
    if language == "Greek":  # its question mark is a semicolon elsewhere
        expected = [expected[0], f"{expected[1]} {expected[2]}"]
    assert found == expected


def test_without_blanks_between_them_too() -> None:
    text = "".join(SENTENCES["Chinese"])
    assert [text[start:end] for start, end in sentences(text)] == SENTENCES["Chinese"]


@pytest.mark.parametrize(
    ("text", "many"),
    [
        ("1. Wash it.\n2. Dry it.\n- Fold it", 3),
        ("A heading\n\nand what it says", 2),
        ("# A heading\n## Another", 2),
        ("| a | b |\n| c | d |", 2),
        ("version 1.2.3 of a.b.c", 1),
        ("He asked … and went on. yahoo! is a name? so it is", 1),
        ("J. R. R. Tolkien wrote it. B. did not.", 2),
        ("It was 1999. Then 2000.", 2),
        ("page one\fpage two", 2),
        ("...", 1),
        ("\n \n", 0),
    ],
)
def test_what_ends_a_sentence_and_what_does_not(text: str, many: int) -> None:
    assert len([*sentences(text)]) == many


@given(text=anything, more=anything)
def test_all_is_in_a_sentence_and_what_comes_later_only_makes_the_last_longer(text: str, more: str) -> None:
    found = [*sentences(text)]
    places = [place for start, end in found for place in range(start, end)]
    assert places == sorted(set(places))
    assert {place for place, letter in enumerate(text) if not letter.isspace()} <= set(places)
    assert all(text[start:end].strip() == text[start:end] for start, end in found)
    assert [*sentences(text + more)][: max(0, len(found) - 1)] == found[:-1] or not found


@given(text=st.text("1.\n -#|?a\u3002", max_size=40), part=st.integers(0, 40))
def test_a_part_of_a_text_is_cut_as_that_part_alone(text: str, part: int) -> None:
    start = min(part, len(text))
    found = [(first + start, last + start) for first, last in sentences(text[start:])]
    assert [*sentences(text, start)] == found


@pytest.mark.parametrize("piece", [".", "1.\n", ". ", "\n ", "!?", "a.b.", "- ", "。", '."'])
def test_hostile_runs_take_no_longer_than_others(piece: str) -> None:
    """A million letters of them are read in one pass; were it two passes for each, this would never end."""
    assert sum([end - start for start, end in sentences(piece * 100_000)]) <= len(piece) * 100_000
