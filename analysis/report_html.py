"""A report as one page that loads nothing from anywhere."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from alkaflow.analysis.page import POLICY, data_file
from alkaflow.analysis.report_blocks import (
    Beside,
    Block,
    Cells,
    Commands,
    Files,
    Heading,
    Items,
    Numbered,
    Paragraph,
    Picture,
    Text,
)
from alkaflow.analysis.viewer import scripts_for

_SECTION = 2
_PIXELS_PER_INCH = 130  # letters of 8 points are as large as those of the page's tables
_WORDS = {
    "agrees": "good", "holds": "good", "same": "plain", "deviates": "bad", "fails": "bad", "missing": "bad",
    "guest moved": "bad", "differs": "bad",
    "not known": "plain", "not published": "plain", "open": "plain",
}  # fmt: skip

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="icon" href="data:,">
<style>
{style}</style>
{library}</head>
<body>
<header>
<h1>{title}</h1>
{doi}<nav>{nav}</nav>
</header>
<main>
{body}
</main>
{script}</body>
</html>
"""


@dataclass(frozen=True)
class Embedded:
    """A picture in a page: MIME type, bytes, and its width in print [inch]."""

    mime: str
    data: bytes
    width: float


def render_html(
    title: str,
    doi: str | None,
    blocks: Sequence[Block],
    pictures: Mapping[str, Embedded],
    views: Mapping[str, str] | None = None,
) -> str:
    """Render blocks.

    Parameters
    ----------
    title, doi
        Of the study.
    blocks
        In their order.
    pictures
        By name; they become part of the page.
    views
        What stands in the place of some of them: HTML of `alkaflow.analysis.viewer`.
    """
    linked = [block for block in blocks if isinstance(block, Heading) and block.level == _SECTION and block.anchor]
    style = data_file("viewer.css") + data_file("report.css")
    body = "\n".join(_block(block, pictures, views or {}) for block in blocks)
    library, script = scripts_for(body)
    link = f'<a href="https://doi.org/{escape(doi)}">doi {escape(doi)}</a>' if doi else ""
    return _PAGE.format(
        policy=POLICY,
        title=escape(title),
        style=style,
        doi=f'<p class="doi">Published: {link}</p>\n' if link else "",
        nav=" ".join(f'<a href="#{escape(block.anchor)}">{escape(block.text)}</a>' for block in linked),
        library=library,
        body=body,
        script=script,
    )


def _block(block: Block, pictures: Mapping[str, Embedded], views: Mapping[str, str]) -> str:  # noqa: C901, PLR0911
    match block:
        case Heading(level, text, anchor):
            named = f' id="{escape(anchor)}"' if anchor else ""
            return f"<h{level}{named}>{escape(text)}</h{level}>"
        case Text(text):
            return f"<p>{escape(text)}</p>"
        case Paragraph(plain, _):
            return f'<p class="methods">{escape(plain)}</p>'
        case Items(items):
            return f"<ul>{''.join(f'<li>{escape(item)}</li>' for item in items)}</ul>" if items else ""
        case Numbered(items):
            entries = "".join(
                f'<li>{escape(text)}, <a href="https://doi.org/{escape(doi)}">doi {escape(doi)}</a></li>'
                for text, doi in items
            )
            return f"<ol>{entries}</ol>"
        case Commands(commands):
            return f"<pre><code>{escape(chr(10).join(commands))}</code></pre>"
        case Cells(rows, caption, ragged):
            return _table(rows, caption, ragged)
        case Picture(name, alt, folded):
            return views[name] if name in views else _picture(pictures[name], alt, folded)
        case Files(listed):
            entries = "".join(
                f'<li><a href="{escape(name)}">{escape(name)}</a>: {escape(what)}</li>' for name, what in listed
            )
            return f"<ul>{entries}</ul>"
        case Beside(columns):
            inside = "\n".join(
                f"<div>{chr(10).join(_block(one, pictures, views) for one in column)}</div>" for column in columns
            )
            return f'<div class="beside">{inside}</div>'


def _picture(picture: Embedded, alt: str, folded: str) -> str:
    data = base64.b64encode(picture.data).decode("ascii")
    width = round(picture.width * _PIXELS_PER_INCH)
    image = f'<img alt="{escape(alt)}" width="{width}" src="data:{picture.mime};base64,{data}">'
    return f"<details><summary>{escape(folded)}</summary>{image}</details>" if folded else image


def _table(rows: Sequence[Sequence[str]], caption: str, ragged: bool) -> str:
    heading, *body = rows
    head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in heading)
    lines = "\n".join(f"<tr>{''.join(_cell(cell, ragged) for cell in cells)}</tr>" for cells in body)
    below = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    return (
        f'<figure><div class="scroll"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{lines}\n</tbody></table></div>'
        f"{below}</figure>"
    )


def _cell(cell: str, ragged: bool) -> str:
    if cell in _WORDS:
        return f'<td><span class="{_WORDS[cell]}">{escape(cell)}</span></td>'
    number = not ragged and cell.lstrip("+-").replace(".", "", 1).isdigit()
    return f'<td class="number">{escape(cell)}</td>' if number else f"<td>{escape(cell)}</td>"
