"""Words of every script are found, however they are written."""

from __future__ import annotations

import sqlite3
import unicodedata
from contextlib import closing

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from arshai_kit.index.words import LONGEST, asked, spelled, words

FOUND = [
    # (what is asked, in which text of which language)
    ("river", "Rivers and a river.", "English"),
    ("strasse", "Die Straße ist lang.", "German"),
    ("ete", "L’été à Nîmes", "French"),
    ("manana", "Hasta mañana", "Spanish"),
    ("sao", "São Paulo", "Portuguese"),
    ("perche", "Perché no?", "Italian"),
    ("lodz", "Łódź leży w Polsce", "Polish"),
    ("reka", "Řeka je dlouhá", "Czech"),
    ("rieka", "Rieka tečie", "Slovak"),
    ("folyo", "A folyó hosszú", "Hungarian"),
    ("raul", "Râul este lung", "Romanian"),
    ("joki", "Joki on pitkä", "Finnish"),
    ("jogi", "Jõgi on pikk", "Estonian"),
    ("alven", "Älven är lång", "Swedish"),
    ("o", "En ø i havet", "Danish"),
    ("istanbul", "İstanbul ve ırmak", "Turkish"),
    ("irmak", "İstanbul ve ırmak", "Turkish"),
    ("ποταμος", "Ο ποταμός ΕΙΝΑΙ μακρύς", "Greek"),
    ("река", "РЕКА длинная", "Russian"),
    ("еж", "Ёж в лесу", "Russian"),
    ("рiчка", "Рiчка довга", "Ukrainian"),
    ("գետ", "ԳԵՏԸ և գետ", "Armenian"),
    ("მდინარე", "გრძელი მდინარე", "Georgian"),
    ("שלום", "שָׁלוֹם עולם", "Hebrew"),
    ("كتاب", "هذا كِتَابٌ", "Arabic"),
    ("الاسلام", "الإسلام", "Arabic"),
    ("کتاب", "كتاب", "Persian, written with Arabic letters"),
    ("می روم", "من می‌روم", "Persian"),
    ("۱۴۰۳", "سال 1403", "Persian digits"),
    ("دریا", "دريا", "Urdu and Persian"),
    ("नदी", "यह नदी लंबी है", "Hindi"),
    ("নদী", "নদী বয়ে যায়", "Bengali"),
    ("நதி", "நதி ஓடுகிறது", "Tamil"),
    ("నది", "నది ప్రవహిస్తుంది", "Telugu"),
    ("ನದಿ", "ನದಿ ಹರಿಯುತ್ತದೆ", "Kannada"),
    ("നദി", "നദി ഒഴുകുന്നു", "Malayalam"),
    ("ਨਦੀ", "ਇਹ ਨਦੀ ਹੈ", "Punjabi"),
    ("ගඟ", "මේ ගඟ දිගයි", "Sinhala"),
    ("แม่น้ำ", "นี่คือแม่น้ำสายยาว", "Thai"),
    ("ແມ່ນ້ຳ", "ນີ້ແມ່ນແມ່ນ້ຳຍາວ", "Lao"),
    ("မြစ်", "ဒီမြစ်ရှည်တယ်", "Burmese"),
    ("ទន្លេ", "នេះជាទន្លេវែង", "Khmer"),
    ("河流", "这是一条很长的河流。", "Chinese"),
    ("水", "水が流れる", "a single letter"),
    ("東京", "東京都の川", "Japanese"),
    ("カワ", "ｶﾜとかわ", "Japanese, half width"),
    ("서울", "서울에서 만나요", "Korean"),
    ("ወንዝ", "ረጅም ወንዝ ነው", "Amharic"),
    ("song", "Sông dài", "Vietnamese"),
    ("mto", "Mto mrefu", "Swahili"),
    ("𞤥𞤢𞤴𞤮", "𞤃𞤢𞤴𞤮 𞤶𞤵𞤵𞤼𞤯𞤮", "Fula, in Adlam"),
    ("abc123", "ＡＢＣ１２３", "full width"),
]


@pytest.mark.parametrize(("question", "text", "language"), FOUND)
def test_a_text_of_any_language_is_found(question: str, text: str, language: str) -> None:
    assert asked(question)
    assert set(asked(question)) <= set(words(text)), language
    decomposed = unicodedata.normalize("NFD", text)
    assert set(asked(question)) <= set(words(decomposed)), f"{language}, taken apart"


@given(st.text(st.characters(), max_size=60))
def test_whoever_asks_for_all_of_a_text_finds_it(text: str) -> None:
    """Whatever it holds; and its words are the same however it is written."""
    found = words(text)
    assert set(asked(text)) <= set(found)
    assert bool(asked(text)) == bool(found)
    assert words(text.upper().lower()) is not None
    assert all(0 < len(word) <= 2 * LONGEST and " " not in word for word in found)
    assert words(unicodedata.normalize("NFC", text)) == words(unicodedata.normalize("NFD", text)) or any(
        unicodedata.normalize("NFC", each) != each for each in text
    )


@given(st.text(st.characters(), max_size=40) | st.text(st.characters(max_codepoint=127), max_size=300))
@example("x" * 65 + " Y" * 3)
@example("x" * 64 + "é")
@example("東京x\0y_z" + "é" * 65)
def test_sqlite_takes_each_word_as_we_cut_it(text: str) -> None:
    """The words of a text are those that FTS5 counts, no more and no fewer."""
    found = words(text)
    with closing(sqlite3.connect(":memory:")) as file:
        file.execute("create virtual table found using fts5(words, tokenize = 'ascii')")
        file.execute("create virtual table terms using fts5vocab(found, row)")
        file.execute(
            "insert into found (words) values (cast(? as text))", (spelled(text).encode("utf-8", "surrogatepass"),)
        )
        counted = dict(file.execute("select term, cnt from terms").fetchall())
    assert counted == {word: found.count(word) for word in found}


def test_a_long_question_asks_for_its_first_words() -> None:
    assert asked(" ".join(f"w{each}" for each in range(2000))) == [f"w{each}" for each in range(512)]


def test_what_is_very_long_is_cut() -> None:
    assert [len(word) for word in words("x" * 100)] == [64, 36]
    assert [len(word) for word in words("é" * 100)] == [64, 36]


def test_no_letter_is_lost() -> None:
    """Of every letter and digit there is a word; marks that stand by themselves are no letters."""
    codes = [*range(0x80, 0x3000), *range(0x3000, 0x32000, 11)]
    letters = [chr(code) for code in codes if unicodedata.category(chr(code)) in ("Lu", "Ll", "Lt", "Lo", "Nd")]
    assert [hex(ord(each)) for each in letters if not words(each) and not _vowel_signs(each)] == []


def _vowel_signs(letter: str) -> bool:
    """Whether *letter* is a form of Arabic vowel signs alone."""
    return all(unicodedata.category(each) in ("Mn", "Zs", "Lm") for each in unicodedata.normalize("NFKC", letter))
