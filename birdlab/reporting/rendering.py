"""A table's cells, as Markdown and as LaTeX."""

import re
from collections.abc import Iterable
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
    """A table with its title; all cells are plain text, to be escaped by whoever renders them."""

    title: str
    headings: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""

    def markdown(self) -> str:
        """As GitHub reads it."""
        numeric = [all(_is_number(row[i]) for row in self.rows) for i in range(len(self.headings))]
        lines = [
            _markdown_row(map(_markdown, self.headings)),
            "|" + "|".join("---:" if right else "---" for right in numeric) + "|",
        ]
        for row in self.rows:
            texts = (f"**{_markdown(cell.text)}**" if cell.bold else _markdown(cell.text) for cell in row)
            lines.append(_markdown_row(texts))
        parts = [f"**{_markdown(self.title)}**", "\n".join(lines)]
        return "\n\n".join(parts + [_markdown(self.note)] * bool(self.note)) + "\n"

    def latex(self) -> str:
        """A ``table`` for booktabs."""
        columns = "".join(
            "r" if all(_is_number(row[i]) for row in self.rows) else "l" for i in range(len(self.headings))
        )
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


def _markdown_row(texts: Iterable[str]) -> str:
    return "| " + " | ".join(texts) + " |"


def _markdown(text: str) -> str:
    """Untrusted text that must neither end a cell nor become HTML, a link or emphasis."""
    one_line = " ".join(text.split())
    return re.sub(r"([\\`*_\[\]|<>#])", r"\\\1", one_line).replace("\\_", "_")


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
