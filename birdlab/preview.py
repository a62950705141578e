"""``python -m birdlab.preview +experiment=focal_tversky data.root=DIR``: what the network will be fed.

Takes the same words as ``birdlab.train``, builds the same data, and trains nothing.
"""

from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from matplotlib.figure import Figure
from rich import box
from rich.console import Console
from rich.table import Table

from birdlab import config, figures
from birdlab.build import build_data
from birdlab.data.segmentation import SegmentationData
from birdlab.data.source import SPLITS, Split
from birdlab.errors import BirdlabError, command
from birdlab.figures.samples import extent_of, foreground_shares, spread

_DRAWS = 3
"""Of each sample, beside the sample as it is."""


def preview(data: SegmentationData, split: Split, n: int) -> dict[str, Figure]:
    """Draw some samples of a split as the network gets them, and how much foreground all splits have.

    Args:
        data: prepared.
        split: augmentation is applied to ``train`` only, as in training.
        n: samples, from the emptiest mask to the fullest.

    Returns:
        The figures by name.
    """
    present: list[Split] = [name for name in SPLITS if data.splits[name]]
    shares = {name: foreground_shares(data.arrays(name)) for name in present}
    arrays = data.arrays(split)
    indices = spread(shares[split], n)
    augmented = data.augment is not None and split == "train"
    extents = [extent_of(data.source, data.splits[split][index]) for index in indices]
    ids = [arrays.ids[index] for index in indices]

    pictures = {"foreground": figures.foreground_histogram(shares)}
    images, masks = ([np.array(arrays[field][index]) for index in indices] for field in ("images", "masks"))
    pictures["samples"] = figures.example_pairs(images, masks, extents, ids)
    if augmented:
        draws = [
            list(zip(images, masks, strict=True)),
            *(data.drawn(indices, epoch) for epoch in range(_DRAWS)),
        ]
        of_each = [list(pairs) for pairs in zip(*draws, strict=True)]
        pictures["augmented"] = figures.augmentation_draws(of_each, extents, ids)
    return pictures


def summary(data: SegmentationData) -> Table:
    """Of each split its size, the groups (recordings) in it, the values of images in 0..1, and its masks."""
    rows, columns = data.source.image_size
    table = Table(
        title=f"{type(data.source).__name__} at {rows} x {columns} pixels",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        collapse_padding=True,
    )
    table.add_column("split", no_wrap=True)
    for heading in ("samples", "groups", "values", "mean", "foreground", "under 10 %", "empty"):
        table.add_column(heading, justify="right", no_wrap=True)
    for split in SPLITS:
        samples = data.splits[split]
        if not samples:
            table.add_row(split, "0")
            continue
        arrays = data.arrays(split)
        shares = foreground_shares(arrays)
        low, high = (
            min(int(image.min()) for image in arrays["images"]),
            max(int(image.max()) for image in arrays["images"]),
        )
        mean = float(np.mean([image.mean() for image in arrays["images"]]))
        arrays.release()
        table.add_row(
            split,
            f"{len(samples)}",
            f"{len({sample.group for sample in samples})}",
            f"{low / 255:.2f}..{high / 255:.2f}",
            f"{mean / 255:.3f}",
            f"{shares.mean():.1%}",
            f"{np.mean(shares < 0.1):.0%}",
            f"{np.mean(shares == 0):.1%}",
        )
    return table


app = typer.Typer(add_completion=False)


@app.command()
def main(
    overrides: Annotated[
        list[str] | None, typer.Argument(help="As for birdlab.train: +experiment=focal_tversky data.root=DIR")
    ] = None,
    config_dir: Annotated[Path | None, typer.Option(help="A folder of your own configs.")] = None,
    output: Annotated[Path, typer.Option(help="The folder for the figures.")] = Path("outputs/preview"),
    n: Annotated[int, typer.Option(min=1, help="How many samples to draw.")] = 12,
    split: Annotated[str, typer.Option(help="train, val or test.")] = "train",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace figures that are there.")] = False,
) -> None:
    """Draw what a network will be fed, augmentation included, before any training."""
    with command():
        chosen = _split(split)
        cfg = config.compose(overrides or [], config_dir)
        names = ("foreground.png", "samples.png", "augmented.png")
        there = [output / name for name in names if (output / name).exists()]
        if there and not overwrite:
            raise BirdlabError(
                f"{there[0]} exists already. Choose another folder with --output or add --overwrite."
            )
        data = build_data(cfg)
        data.prepare_data()
        if not isinstance(data, SegmentationData):
            raise BirdlabError(
                "birdlab.preview draws segmentation data; of species there are the tables above."
            )
        Console().print(summary(data))
        for name, figure in preview(data, chosen, n).items():
            figures.save(figure, output / f"{name}.png")
            Console().print(f"{output / name}.png", soft_wrap=True, highlight=False)


def _split(name: str) -> Split:
    for split in SPLITS:
        if split == name:
            return split
    raise BirdlabError(f"--split {name}: there is no such split; there are {', '.join(SPLITS)}.")


if __name__ == "__main__":
    app()
