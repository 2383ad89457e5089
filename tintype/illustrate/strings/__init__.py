"""All wording of the page: one table a language, keys the same in each.

In the tables ``**word**`` is bold and ``[[blue|word]]`` is in the colour of a part; ``{name}`` stands for a value.
Values are never read as markup.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from markupsafe import Markup, escape

from tintype.errors import SettingsError

LANGUAGES = ("en", "zh")

_COLOURED = re.compile(r"\[\[(\w+)\|([^\]]*)\]\]")
_BOLD = re.compile(r"\*\*(.+?)\*\*")
_CODE = re.compile(r"`([^`]+)`")


@dataclass(frozen=True)
class Strings:
    """The table of one language."""

    language: str
    table: dict[str, str]

    def text(self, key: str, **values: object) -> str:
        """Plain text, for descriptions and titles."""
        plain = _CODE.sub(r"\1", _BOLD.sub(r"\1", _COLOURED.sub(r"\2", self.table[key])))
        return plain.format(**values)

    def rich(self, key: str, **values: object) -> Markup:
        """The text as HTML; values are escaped."""
        html = str(escape(self.table[key]))
        html = _COLOURED.sub(r'<span class="ink \1">\2</span>', html)
        html = _CODE.sub(r"<code>\1</code>", _BOLD.sub(r"<strong>\1</strong>", html))
        return Markup(html).format(**values)

    def under(self, prefix: str) -> dict[str, str]:
        """The entries below a prefix, for the page's script."""
        return {key.removeprefix(prefix): text for key, text in self.table.items() if key.startswith(prefix)}


@cache
def strings(language: str = "en") -> Strings:
    """The wording in a language. SettingsError for one that is not there."""
    if language not in LANGUAGES:
        raise SettingsError(f"The page is written in {', '.join(LANGUAGES)}; {language!r} is not there.")
    text = files("tintype.illustrate.strings").joinpath(f"{language}.json").read_text(encoding="utf-8")
    return Strings(language, json.loads(text))
