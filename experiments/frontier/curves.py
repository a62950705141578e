"""What each threshold brings on the recordings with boxes, from the summaries of `score`: writes curves.png.

    python experiments/frontier/curves.py

Left, masks: how much of the boxes' area is marked, and how much of what is marked lies in boxes. Right,
output in boxes: IoU with those that people drew. Dots are the thresholds that runs chose on their validation
data.
"""

import csv
from pathlib import Path

from matplotlib.axes import Axes

from birdlab.figures.style import BLUE, GREEN, GREY, ORANGE, PAGE, new_figure, save, styled

HERE = Path(__file__).parent
MASKS = {
    "energy": ("energy threshold", GREY),
    "pretrained": ("without recordings with boxes", ORANGE),
    "masks": ("adapted", BLUE),
    "masks_ensemble": ("adapted, three seeds together", GREEN),
}
BOXES = {
    "energy": ("energy threshold", GREY),
    "boxes": ("adapted to boxes", BLUE),
    "boxes_ensemble": ("adapted to boxes, three seeds together", GREEN),
}
WANTED_PRECISION, WANTED_IOU = 0.80, 0.62


def rows(name: str, output: str) -> list[dict[str, str]]:
    """Of one summary."""
    with (HERE / f"{name}_summary.csv").open(encoding="utf-8") as file:
        return [row for row in csv.DictReader(file) if row["output"] == output]


def is_fixed(row: dict[str, str]) -> bool:
    """Whether its threshold is a number, and the same for all runs."""
    return row["threshold"].replace(".", "", 1).isdigit()


def draw(axes: Axes, name: str, output: str, of: tuple[str, str], label: str, colour: str) -> None:
    """A curve over thresholds, and the runs' own."""
    every = rows(name, output)
    fixed, own = [row for row in every if is_fixed(row)], [row for row in every if row["threshold"] == "own"]
    across, up = of
    axes.plot([float(r[across]) for r in fixed], [float(r[up]) for r in fixed], color=colour, label=label)
    if across != "threshold":
        axes.plot([float(r[across]) for r in own], [float(r[up]) for r in own], "o", color=colour, ms=4)


def main() -> None:
    with styled():
        figure = new_figure(PAGE, 2.6)
        left, right = figure.subplots(1, 2)
        for name, (label, colour) in MASKS.items():
            draw(left, name, "mask", ("recall", "precision"), label, colour)
        left.set(xlabel="share of the boxes' area that is marked", ylabel="share of the marks in boxes")
        left.set(xlim=(0, 0.85), ylim=(0.4, 1))
        for name, (label, colour) in BOXES.items():
            draw(right, name, "boxes", ("threshold", "iou"), label, colour)
        right.set(xlabel="threshold", ylabel="IoU of boxes with those drawn", xlim=(0, 1), ylim=(0, 0.7))
        for axes, wanted in ((left, WANTED_PRECISION), (right, WANTED_IOU)):
            axes.axhline(wanted, color=GREY, ls=":", lw=0.8)
            axes.annotate(
                "wanted", (axes.get_xlim()[1], wanted), ha="right", va="bottom", color=GREY, fontsize=6.5
            )
        left.legend(loc="lower right")
        right.legend(loc="lower center")
    save(figure, HERE / "curves.png", dpi=200)


if __name__ == "__main__":
    main()
