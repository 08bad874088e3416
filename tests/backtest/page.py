"""Reads the page of a backtest by two parsers and prints what it holds as one JSON object.

Usage: page.py FOLDER, with report.html in it.
"""

import html.parser
import json
import pathlib
import sys
import xml.etree.ElementTree

SVG = "{http://www.w3.org/1999/xhtml}"


class Reader(html.parser.HTMLParser):
    """Counts the elements as a browser's parser sees them, and where they refer to."""

    def __init__(self):
        super().__init__()
        self.elements = 0
        self.references = []

    def handle_starttag(self, tag, attrs):
        self.elements += 1
        self.references += [value for name, value in attrs if name in ("src", "href", "xlink:href", "srcset", "action")]
        self.references += [f"{tag} {name}" for name, _ in attrs if name.startswith("on")]


def main(folder):
    text = (folder / "report.html").read_text(encoding="utf-8")
    tree = xml.etree.ElementTree.fromstring(text)
    reader = Reader()
    reader.feed(text)
    reader.close()
    elements = [element.tag.removeprefix(SVG) for element in tree.iter()]
    pictures = [element for element in tree.iter() if element.get("role") == "img"]
    names = sorted({element.text for element in tree.iter(f"{SVG}h3")})
    print(
        json.dumps(
            {
                "as_xml": len(elements),
                "as_html": reader.elements,
                "references": reader.references,
                "scripts": elements.count("script"),
                "pictures": len(pictures),
                "without_words": sum(not picture.get("aria-label") for picture in pictures),
                "incidents": names,
            }
        )
    )


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
