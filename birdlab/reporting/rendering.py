"""A table's cells, as Markdown and as LaTeX."""

import re
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Cell:
    """A cell as it is shown.

    Attributes:
        text: plain text.
        value: what it is sorted by.
        bold: for what the comparison supports.
    """

    text: str
    value: float | str
    bold: bool = False


@dataclass(frozen=True)
class Table:
    """A table, with a title or none; all cells are plain text, to be escaped by whoever renders them."""

    title: str
    headings: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""

    @property
    def numeric(self) -> list[bool]:
        """Which columns hold numbers, and stand to the right."""
        return [all(_is_number(row[place]) for row in self.rows) for place in range(len(self.headings))]

    def markdown(self) -> str:
        """As GitHub reads it."""
        rows = [
            [
                f"**{escaped_markdown(cell.text)}**" if cell.bold else escaped_markdown(cell.text)
                for cell in row
            ]
            for row in self.rows
        ]
        lines = markdown_lines(list(map(escaped_markdown, self.headings)), rows, self.numeric)
        title = f"**{escaped_markdown(self.title)}**" if self.title else ""
        return "\n\n".join(filter(None, [title, "\n".join(lines), escaped_markdown(self.note)])) + "\n"

    def latex(self) -> str:
        """A ``table`` for booktabs."""
        columns = "".join("r" if right else "l" for right in self.numeric)
        lines = [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{_latex(' '.join(filter(None, [self.title + '.', self.note])))}}}",
            rf"\begin{{tabular}}{{{columns}}}",
            r"\toprule",
            " & ".join(map(_latex, self.headings)) + r" \\",
            r"\midrule",
        ]
        for row in self.rows:
            texts = (rf"\textbf{{{_latex(cell.text)}}}" if cell.bold else _latex(cell.text) for cell in row)
            lines.append(" & ".join(texts) + r" \\")
        return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}"]) + "\n"


def _is_number(cell: Cell) -> bool:
    return not isinstance(cell.value, str) or cell.text == "—"


def markdown_lines(
    headings: Sequence[str], rows: Sequence[Sequence[str]], numeric: Sequence[bool]
) -> list[str]:
    """The lines of a table of escaped text, numbers to the right."""
    head = [headings, ["---:" if right else "---" for right in numeric]]
    return [f"| {' | '.join(cells)} |" for cells in [*head, *rows]]


def escaped_markdown(text: str) -> str:
    """Untrusted text on one line that can neither end a cell nor become HTML, a link or emphasis."""
    one_line = " ".join(text.split())
    # Between letters an underscore is one.
    return re.sub(r"[\\`*\[\]|<>#$~]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])", r"\\\g<0>", one_line)


_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "—": "---",
    "<": r"$<$",
    ">": r"$>$",
} | {sign: f"\\{sign}" for sign in "&%$#_{}"}


def _latex(text: str) -> str:
    return "".join(_LATEX.get(sign, sign) for sign in " ".join(text.split()))
