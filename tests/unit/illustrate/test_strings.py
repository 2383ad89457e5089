from __future__ import annotations

import re
from string import Formatter

import pytest

from tests.contracts.repository import PACKAGE
from tintype.errors import SettingsError
from tintype.illustrate.strings import LANGUAGES, Strings, strings

ENGLISH = strings("en").table


def placeholders(text: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(text) if name is not None}


@pytest.mark.parametrize("language", [language for language in LANGUAGES if language != "en"])
def test_each_language_has_the_keys_and_the_placeholders_of_english(language):
    table = strings(language).table
    assert list(table) == list(ENGLISH)
    different = {key for key in table if not placeholders(table[key]) <= placeholders(ENGLISH[key])}
    assert not different
    lost = {key: placeholders(ENGLISH[key]) - placeholders(table[key]) for key in table}
    assert not {key: names for key, names in lost.items() if names}


def test_placeholders_are_names_and_reach_into_nothing():
    assert all(name.isidentifier() for text in ENGLISH.values() for name in placeholders(text))


def test_another_language_is_written_in_its_own_letters():
    chinese = strings("zh").table
    same = [key for key, text in chinese.items() if text == ENGLISH[key] and re.search("[a-z]{4}", text)]
    assert set(same) <= {"kind.transformer"}


def test_every_key_is_used_somewhere():
    sources = "".join(path.read_text() for path in (PACKAGE / "illustrate").rglob("*.py"))
    sources += "".join(path.read_text() for path in (PACKAGE / "illustrate" / "templates").glob("*.html"))
    families = {"key", "part", "lead", "recap", "kind", "about", "short", "where", "film", "table", "player", "opening"}
    families |= {"learn", "tokens", "stage", "curve", "sheets", "repeat"}
    unused = [key for key in ENGLISH if f'"{key}"' not in sources and key.split(".")[0] not in families]
    assert not unused


def test_marks_become_html_and_values_never_do():
    s = Strings("en", {"a": "**bold** [[blue|text]] `code` <i> {value}"})
    html = s.rich("a", value="<script>**x** [[pink|y]]")
    assert html == (
        '<strong>bold</strong> <span class="ink blue">text</span> <code>code</code> &lt;i&gt; '
        "&lt;script&gt;**x** [[pink|y]]"
    )
    assert s.text("a", value="{b}") == "bold text code <i> {b}"


def test_an_unknown_language_is_refused():
    with pytest.raises(SettingsError, match="en, zh"):
        strings("tlh")
