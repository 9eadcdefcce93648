"""Word pieces are those of BERT's own tokenizer, in every script, and no more of a text is read than is wanted."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arshai_kit.local.wordpiece import Vocabulary, vocabulary

# What the `tokenizers` package (0.23.3) makes of each with the tokenizer.json of all-MiniLM-L6-v2.
KNOWN = (
    (
        "The quick brown fox can't jump over 13 lazy dogs.",
        "1996 4248 2829 4419 2064 1005 1056 5376 2058 2410 13971 6077 1012",
    ),
    (
        "Żółć jest gęsta, a Łódź leży w Polsce.",
        "1062 2080 18818 2278 15333 3367 16216 9153 1010 1037 17814 3393 9096 1059 14955 11020 2063 1012",
    ),
    (
        "Straße, Maß und Übermut; ẞ bleibt groß.",
        "2358 27807 1010 5003 19310 6151 19169 28120 1025 1096 1038 23057 19279 24665 2080 19310 1012",
    ),
    (
        "L'été dernier, à Noël, garçon!",
        "1048 1005 3802 2063 4315 14862 1010 1037 10716 1010 11721 29566 2078 999",
    ),
    (
        "¿Dónde está el niño? ¡Aquí!",
        "1094 2123 3207 9765 2050 3449 20801 1029 1067 1037 15549 999",
    ),
    (
        "Привет, мир! Ёлка стоит в лесу.",
        (
            "1194 16856 10325 25529 15290 22919 1010 1191 10325 16856 999 1185 29436 28598 1196 22919 14150 10325 "
            "22919 1182 1190 15290 29747 29748 1012"
        ),
    ),
    (
        "Καλημέρα κόσμε, ΟΔΟΣ.",
        "1164 14608 29727 24824 29728 29723 29732 14608 1164 29730 29733 29728 29723 1010 1169 29722 29730 29733 1012",
    ),
    (
        "שלום עולם, שָׁלוֹם",
        "1266 29799 29792 29800 1259 29792 29799 29800 1010 1266 29799 29792 29800",
    ),
    (
        "مرحبا بالعالم، كيف حالُك؟",
        (
            "1295 17149 29820 29816 25573 1271 25573 23673 29830 25573 23673 22192 1268 1293 14498 29833 1276 "
            "25573 23673 29835 100"
        ),
    ),
    (
        "سلام دنیا، می\u200cروم به خانه.",
        (
            "1282 23673 25573 22192 1278 15915 24830 25573 1268 1295 24830 17149 29836 22192 1271 14157 1277 "
            "18511 14157 1012"
        ),
    ),
    (
        "नमस्ते दुनिया, क्या हाल है?",
        "1327 29867 29874 29859 1325 29863 29877 29868 29876 1010 1315 29868 29876 1339 29876 29870 1339 1029",
    ),
    (
        "আমি বাংলায় গান গাই।",
        "1348 29906 29915 1368 29914 29882 29909 29914 29907 1355 29914 29902 1355 29914 29885 1344",
    ),
    (
        "வணக்கம் உலகம்",
        "100 100",
    ),
    (
        "สวัสดีชาวโลก",
        "100",
    ),
    (
        "你好，世界。我爱北京天安门",
        "100 100 1989 1745 100 1636 1855 100 1781 1755 1811 1820 100",
    ),
    (
        "こんにちは世界、カタカナとﾊﾝｶｸ。",
        "1655 30217 30194 30188 30198 1745 100 1635 100 1636",
    ),
    (
        "안녕하세요 세계",
        "1463 30006 30021 29992 30010 30025 30005 30006 29997 30009 29999 30013 100",
    ),
    (
        "Xin chào thế giới, tôi yêu Việt Nam",
        "8418 2078 22455 1996 21025 10448 1010 2000 2072 6300 2226 19710 15125",
    ),
    (
        "İstanbul'da ılık bir gün; IĞDIR",
        "9960 1005 4830 1104 2140 11722 2243 12170 2099 3282 1025 1045 2290 4305 2099",
    ),
    (
        "გამარჯობა მსოფლიო",
        "100 100",
    ),
    (
        "Բարեւ աշխարհ։",
        "1220 29766 29784 29770 29785 100 100",
    ),
    (
        "ሰላም ልዑል።",
        "100 100 100",
    ),
    (
        "Hej värld, på ön är ån åt å.",
        "2002 3501 13075 6392 1010 6643 2006 12098 2019 2012 1037 1012",
    ),
    (
        "Dobrý den, světe – příliš žluťoučký kůň",
        "2079 25731 7939 1010 17917 12870 1516 26927 6856 1062 7630 24826 17413 28919",
    ),
    (
        "Salam dünya, əzizim",
        "16183 3286 24654 3148 1010 1114 5831 5831 2213",
    ),
    (
        "email@example.com https://x.org/a?b=c_d#e $5.99 50% x^2 ~ `code` <tag/>",
        (
            "10373 1030 2742 1012 4012 16770 1024 1013 1013 1060 1012 8917 1013 1037 1029 1038 1027 1039 1035 "
            "1040 1001 1041 1002 1019 1012 5585 2753 1003 1060 1034 1016 1066 1036 3642 1036 1026 6415 1013 1028"
        ),
    ),
    (
        "great\U0001f600work \U0001f469\u200d\U0001f469\u200d\U0001f467 \u2764\ufe0f ok",
        "100 100 100 7929",
    ),
    (
        "a\x00b\u200bc\ufeffd\ue000e \t\r\n f\xa0g\u3000h\u2028i",
        "5925 3207 1042 1043 1044 1045",
    ),
    (
        "antidisestablishmentarianism floccinaucinihilipilification",
        "3424 10521 4355 7875 13602 3672 12199 2964 13109 10085 28748 14194 5498 19466 11514 18622 10803",
    ),
    (
        "x" * 100 + " " + "x" * 101,
        (
            "22038 20348 20348 20348 20348 20348 20348 20348 20348 20348 20348 20348 20348 20348 20348 20348 "
            "20348 20348 20348 20348 20348 20348 20348 20348 20348 20348 20348 20348 20348 20348 20348 20348 "
            "20348 20348 20348 20348 20348 20348 20348 20348 20348 20348 20348 20348 20348 20348 20348 20348 "
            "20348 20348 100"
        ),
    ),
    (
        "ﬁne ½ ² ™ № Å Ⅷ ǅ",
        "1984 2638 1092 1082 1580 1578 1037 100 100",
    ),
    (
        "\u1e9b\u0323 e\u0301 a\u20dd \u0130",
        "100 1041 100 1045",
    ),
    (
        "㐀𠀀豈",
        "100 100 100",
    ),
    (
        "def f(x): return x**2  # comment",
        "13366 1042 1006 1060 1007 1024 2709 1060 1008 1008 1016 1001 7615",
    ),
)


def numbers(text: str) -> list[int]:
    """The numbers of *text*, without those around it."""
    return vocabulary().numbers(text, 10**9)[0][1:-1]


@pytest.mark.parametrize(("text", "expected"), KNOWN, ids=range(len(KNOWN)))
def test_the_numbers_are_those_of_the_reference(text: str, expected: str) -> None:
    assert numbers(text) == [int(number) for number in expected.split()]
    assert vocabulary().count(text) == len(expected.split())


@given(st.text(max_size=60), st.integers(3, 20))
def test_a_longer_text_is_cut_and_said_to_be(text: str, limit: int) -> None:
    found, more = vocabulary().numbers(text, limit)
    whole = numbers(text)
    assert (found[0], found[-1]) == (101, 102)
    assert found[1:-1] == whole[: limit - 2]
    assert more == (len(whole) > limit - 2)


@given(st.text(max_size=30), st.text(max_size=30))
def test_texts_side_by_side_are_read_one_after_the_other(one: str, other: str) -> None:
    assert numbers(f"{one} {other}") == numbers(one) + numbers(other)


words = st.lists(st.sampled_from(["river", "语", "!", "unaffable", "x" * 99, "x" * 120, "naïve", "😀"]), min_size=1)


@given(words, st.integers(4090, 4100), st.sampled_from(["", " ", "\n"]))
def test_where_a_long_text_is_taken_apart_to_be_read_is_not_seen(parts: list[str], before: int, space: str) -> None:
    text = space.join(parts)
    assert numbers(" " * before + text) == numbers(text)
    assert numbers("." * before + f" {text}") == numbers(".") * before + numbers(text)


def test_one_word_without_an_end_is_one_unknown_word() -> None:
    assert numbers("a" * 100_000) == numbers("😀") == [100]


def test_what_looks_like_a_mark_of_the_models_is_text() -> None:
    assert not {100, 101, 102, 103} & set(numbers("[CLS] [SEP] [UNK] [MASK] [sep]"))


def test_half_a_letter_is_none() -> None:
    assert numbers("a\ud83db") == numbers("ab")


def test_any_pieces_make_a_vocabulary() -> None:
    own = Vocabulary(["[CLS]", "[SEP]", "[UNK]", "un", "##able"])
    assert own.numbers("Unable able un", 9) == ([0, 3, 4, 2, 3, 1], False)
