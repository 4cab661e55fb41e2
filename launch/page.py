"""The parts of a page: HTML that needs no other file, pictures included."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Mapping, Sequence

STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2em auto; max-width: 70em; padding: 0 1em }
h1 { font-size: 1.6em } h2 { font-size: 1.25em; margin-top: 2em }
table { border-collapse: collapse; margin: .6em 0 }
th, td { padding: .2em .7em; border-bottom: 1px solid #ddd; text-align: right }
th:first-child, td:first-child { text-align: left }
code { font-size: .9em; overflow-wrap: anywhere }
img { max-width: 100%; height: auto }
.bar { background: #4a7fb5; display: inline-block; height: .8em; vertical-align: baseline }
.wrong { color: #a00; font-weight: bold }
.bars { display: inline-block; vertical-align: top; margin-right: 2em }
"""


def escape(value: object) -> str:
    """A value as the text of a page; large integers with commas.

    >>> escape("<b>"), escape(60000), escape(0.12345678)
    ('&lt;b&gt;', '60,000', '0.1235')
    """
    if isinstance(value, bool) or value is None:
        text = {True: "yes", False: "no", None: "–"}[value]
    elif isinstance(value, int):
        text = f"{value:,}"
    elif isinstance(value, float):
        text = f"{value:.4g}"
    else:
        text = str(value)
    return html.escape(text)


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table; its cells are text."""
    lines = ["<table><tr>" + "".join(f"<th>{escape(cell)}</th>" for cell in head) + "</tr>"]
    for row in rows:
        lines.append("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>")
    return "\n".join([*lines, "</table>"])


def pairs(values: Mapping[str, object]) -> str:
    """A table of names and values."""
    return table(("", ""), values.items()).replace("<tr><th></th><th></th></tr>\n", "")


def bars(title: str, counts: Mapping[str, int]) -> str:
    """Horizontal bars, the longest 20 em."""
    most = max(counts.values(), default=0) or 1
    lines = [f'<table class="bars"><tr><th>{escape(title)}</th><th></th><th></th></tr>']
    for name, count in counts.items():
        bar = f'<span class="bar" style="width:{20 * count / most:.2f}em"></span>'
        cells = f"<td>{escape(name)}</td><td>{escape(count)}</td>"
        lines.append(f'<tr>{cells}<td style="text-align:left">{bar}</td></tr>')
    return "\n".join([*lines, "</table>"])


def picture(png: bytes, caption: str) -> str:
    """An image that stands in the page itself."""
    data = base64.b64encode(png).decode()
    return f'<p><img alt="{escape(caption)}" src="data:image/png;base64,{data}"></p>'


def page(title: str, sections: Iterable[str]) -> str:
    """A whole page."""
    head = f'<meta charset="utf-8"><title>{escape(title)}</title><style>{STYLE}</style>'
    body = "\n".join(sections)
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>\n{body}\n</body></html>\n'
