"""``python -m birdlab.analyse RUN``: where a finished run goes wrong, on any split or data set."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from birdlab import config
from birdlab.callbacks.errors import ErrorAnalysis
from birdlab.data.source import SPLITS
from birdlab.errors import BirdlabError, command
from birdlab.evaluate import data_config, evaluate_run
from birdlab.files import write_csv
from birdlab.options import Trust
from birdlab.run import Run

app = typer.Typer(add_completion=False)


@app.command()
def main(
    run: Annotated[Path, typer.Argument(help="The run directory.")],
    settings: Annotated[
        list[str] | None, typer.Argument(help="Settings of the data set: data.root=DIR")
    ] = None,
    data: Annotated[str | None, typer.Option(help="Another data set: a name from conf/data.")] = None,
    split: Annotated[str, typer.Option(help="train, val or test.")] = "test",
    output: Annotated[
        Path | None,
        typer.Option(help="A new folder; by default RUN/analysis_SPLIT."),
    ] = None,
    samples: Annotated[int, typer.Option(help="How many of the worst are shown.", min=1)] = 10,
    trust: Trust = False,
) -> None:
    """Score each sample, set scores against SNR, foreground and call length, and draw the worst ones."""
    with command():
        if split not in SPLITS:
            raise BirdlabError(f"--split {split}: there is no such split; there are {', '.join(SPLITS)}.")
        opened = Run.open(run)
        folder = output or opened.directory / "_".join(["analysis", *([data] if data else []), split])
        if folder.exists():
            raise BirdlabError(f"{folder} exists already. Choose another by --output, or move it away.")

        if config.names_species(opened.config(trust=trust)):
            raise BirdlabError(f"{run} is a run of species: see its figures/confusion.png and scores.csv.")
        chosen = data_config(opened, data, settings or [], trust=trust)

        analysis = ErrorAnalysis(samples, folder)
        evaluation = evaluate_run(opened, chosen, split, callbacks=[analysis], trust=trust)
        write_csv(folder / "scores.csv", evaluation.samples)
        Console().print(evaluation.table())
        print(f"Analysis: {folder}")


if __name__ == "__main__":
    app()
