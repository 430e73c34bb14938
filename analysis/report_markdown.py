"""A report as Markdown."""

from collections.abc import Iterator, Sequence

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

_SPECIAL = str.maketrans({c: f"\\{c}" for c in "\\`*_[]<>|#"})


def render_markdown(title: str, doi: str | None, blocks: Sequence[Block], pictures: str) -> str:
    """Render blocks; ``pictures`` is the folder of the pictures, relative to the file."""
    lines = [f"# {_escaped(title)}", ""]
    if doi:
        lines += [f"<https://doi.org/{doi}>", ""]
    return "\n".join([*lines, *_lines(blocks, pictures)]) + "\n"


def _lines(blocks: Sequence[Block], pictures: str) -> Iterator[str]:
    for block in blocks:
        yield from _block(block, pictures)


def _block(block: Block, pictures: str) -> Iterator[str]:  # noqa: C901, PLR0912  (one branch per kind of block)
    match block:
        case Heading(level, text, _):
            yield from (f"{'#' * level} {_escaped(text)}", "")
        case Text(text):
            yield from (_escaped(text), "")
        case Paragraph(_, markdown):
            yield from (markdown, "")
        case Items(items):
            if items:
                yield from (*(f"- {_escaped(item)}" for item in items), "")
        case Numbered(items):
            yield from (
                *(f"{n}. {_escaped(text)}, <https://doi.org/{doi}>" for n, (text, doi) in enumerate(items, 1)),
                "",
            )
        case Commands(commands):
            yield from (*(f"    {command}" for command in commands), "")
        case Cells(rows, caption, _):
            yield from _table(rows)
            if caption:
                yield from (_escaped(caption), "")
        case Picture(name, alt, _):
            yield from (f"![{_escaped(alt)}]({pictures}/{name}.png)", "")
        case Files(files):
            yield from (*(f"- [{_escaped(name)}]({name}): {_escaped(what)}" for name, what in files), "")
        case Beside(columns):
            for column in columns:
                yield from _lines(column, pictures)


def _table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    for number, cells in enumerate(rows):
        yield f"| {' | '.join(_escaped(cell) for cell in cells)} |"
        if number == 0:
            yield "|" + "---|" * len(cells)
    yield ""


def _escaped(text: str) -> str:
    return " ".join(text.split()).translate(_SPECIAL)
