"""Pages taken apart, as a browser would: elements, attributes, scripts."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser

from markupsafe import Markup

VOID = {"meta", "img", "input", "br", "link", "hr", "path", "rect", "line", "image", "polyline"}


@dataclass
class Element:
    tag: str
    attributes: dict[str, str | None]
    children: list[Element] = field(default_factory=list)
    text: str = ""

    def walk(self):
        yield self
        for child in self.children:
            yield from child.walk()

    def all_text(self) -> str:
        return self.text + "".join(child.all_text() for child in self.children)


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.root = Element("document", {})
        self.stack = [self.root]

    def handle_starttag(self, tag, attrs):
        element = Element(tag, dict(attrs))
        self.stack[-1].children.append(element)
        if tag not in VOID:
            self.stack.append(element)

    def handle_startendtag(self, tag, attrs):
        self.stack[-1].children.append(Element(tag, dict(attrs)))

    def handle_endtag(self, tag):
        if tag in VOID:
            return
        assert self.stack[-1].tag == tag, f"</{tag}> closes <{self.stack[-1].tag}>"
        self.stack.pop()

    def handle_data(self, data):
        self.stack[-1].text += data


def parse(html: str | Markup) -> Element:
    """The tree of a page. AssertionError where an element is not closed or closed twice."""
    reader = _Reader()
    reader.feed(str(html))
    reader.close()
    assert reader.stack == [reader.root], f"left open: {[element.tag for element in reader.stack[1:]]}"
    return reader.root


def skeleton(root: Element) -> list[tuple[str, tuple[str, ...]]]:
    """Each element with the names of its attributes: what a text must not be able to change."""
    return [(element.tag, tuple(element.attributes)) for element in root.walk()]
