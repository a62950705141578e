"""``python -m birdlab.dashboard --entity E --project P --group G``: the W&B workspace and report of a sweep.

Everything is made of what the group's runs have logged: a panel names no metric that isn't there. Saving
needs a login; `WANDB_BASE_URL` says on which server.
"""

import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

import typer
from rich.console import Console

from birdlab.config import groups
from birdlab.errors import BirdlabError, command
from birdlab.loggers import logged_in
from birdlab.reporting.comparison import LOWER_IS_BETTER
from birdlab.reporting.conditions import factors, overridden
from birdlab.reporting.read import RunRecord, flat
from birdlab.reporting.tables import HEADINGS

CURVES = ("train/loss", "val/loss", "train/rate")
"""Drawn for every study, beside what it monitors."""


@dataclass(frozen=True)
class LoggedRuns:
    """What the runs of a group have told W&B.

    Attributes:
        configs: of each run, nested as it was logged.
        metrics: names of numbers.
        media: names of images.
    """

    configs: Sequence[Mapping[str, Any]]
    metrics: frozenset[str]
    media: frozenset[str]

    @classmethod
    def of(cls, runs: Iterable[tuple[Mapping[str, Any], Mapping[str, Any]]]) -> "LoggedRuns":
        """From the config and the summary (the last value of everything that was logged) of each run."""
        configs, metrics, media = [], set(), set()
        for config, summary in runs:
            configs.append(config)
            for name, value in summary.items():
                if isinstance(value, int | float):
                    metrics.add(name)
                elif str(_type(value)).startswith("image"):
                    media.add(name)
        return cls(configs, frozenset(metrics - {"_step", "_runtime", "_timestamp"}), frozenset(media))

    @property
    def keys(self) -> list[str]:
        """Config keys in which the runs differ, without the seed and what follows from others."""
        records = [
            RunRecord(Path(), str(number), "finished", config=flat(config))
            for number, config in enumerate(self.configs)
        ]
        differing = overridden(records)
        found = [_logged_key(factor, differing) for factor in factors(records)]
        return [key for key in dict.fromkeys(found) if key]

    @property
    def monitored(self) -> str | None:
        """The validation metric that chooses the best epoch."""
        names = {str(config.get("monitor", {}).get("metric")) for config in self.configs}
        return min(names & self.metrics, default=None)

    @property
    def score(self) -> str | None:
        """What the runs are compared by: the monitored score on the test split, if they were tested."""
        name = (self.monitored or "").removeprefix("val/").removesuffix("_resized").removesuffix("_best")
        tested = [
            f"{block}/{score}"
            for score in dict.fromkeys([name, *HEADINGS])
            for block in ("test_tuned", "test")
        ]
        return next((one for one in tested if one in self.metrics), self.monitored)

    @property
    def columns(self) -> list[str]:
        """Of the table of runs, as W&B addresses them: what differs, and the test scores."""
        nested = [key.partition(".") for key in self.keys]
        differing = [f"config:{head}.value{dot}{rest}" for head, dot, rest in nested]
        scores = [f"test/{score}" for score in HEADINGS]
        return differing + [f"summary:{name}" for name in scores if name in self.metrics]


def sections(logged: LoggedRuns) -> dict[str, list[Any]]:
    """The panels of a dashboard by heading; headings without panels are left out.

    Raises:
        BirdlabError: if wandb-workspaces is not installed, or the runs have logged no score.
    """
    wr = _library().reports.v2
    score = logged.score
    if score is None:
        raise BirdlabError("The runs of this group have logged no score yet. Wait for their first epoch.")
    curves = [name for name in dict.fromkeys([logged.monitored, *CURVES]) if name in logged.metrics]
    confusion = sorted(name for name in logged.media if "confusion" in name)
    columns = [wr.ParallelCoordinatesPlotColumn(wr.Config(key)) for key in logged.keys]
    found = {
        "Curves": [
            wr.LinePlot(title=name, x="epoch", y=[name], groupby_aggfunc="mean", groupby_rangefunc="minmax")
            for name in curves
        ],
        "What matters": [
            wr.BarPlot(title=score, metrics=[score], groupby_aggfunc="mean", groupby_rangefunc="minmax"),
            *(
                [
                    wr.ParallelCoordinatesPlot(
                        columns=[*columns, wr.ParallelCoordinatesPlotColumn(wr.SummaryMetric(score))]
                    ),
                    wr.ParameterImportancePlot(with_respect_to=score),
                ]
                if columns
                else []
            ),
        ],
        "Predictions": [
            wr.MediaBrowser(title=name, media_keys=[name], num_columns=4)
            for name in sorted(logged.media.difference(confusion))
        ],
        "Confusion": [wr.MediaBrowser(title=name, media_keys=[name], num_columns=4) for name in confusion],
        "Runs": [wr.RunComparer(diff_only="split")],
    }
    return {heading: panels for heading, panels in found.items() if panels}


def workspace(logged: LoggedRuns, entity: str, project: str, group: str) -> Any:
    """The workspace of a group, not saved yet."""
    ws = _library().workspaces
    score = logged.score
    name = re.sub(r"[^\w .()-]+", "-", group)  # W&B refuses signs such as =
    return ws.Workspace(
        entity=entity,
        project=project,
        name=f"birdlab {name}",
        sections=[
            ws.Section(name=heading, panels=panels, is_open=True)
            for heading, panels in sections(logged).items()
        ],
        settings=ws.WorkspaceSettings(x_axis="epoch", max_runs=100),
        runset_settings=ws.RunsetSettings(
            filters=ws.And(ws.Metric("Group") == group),
            groupby=[ws.Config(key) for key in logged.keys],
            order=[ws.Ordering(ws.Summary(score), ascending=_least_is_best(score))],
            pinned_columns=logged.columns,
        ),
    )


def report(logged: LoggedRuns, entity: str, project: str, group: str) -> Any:
    """The report of a group, not saved yet; what it is made of can be had as text only with a login."""
    library = _library()
    wr, expr = library.reports.v2, library.expr
    blocks: list[Any] = [
        wr.P(f"{len(logged.configs)} runs of the group {group}, compared by {logged.score}."),
        wr.TableOfContents(),
    ]
    for heading, panels in sections(logged).items():
        runs = wr.Runset(
            entity=entity,
            project=project,
            name=group,
            filters=expr.And(expr.Metric("Group") == group),
            groupby=[f"config.{key}" for key in logged.keys],
            order=[wr.OrderBy(wr.SummaryMetric(logged.score), ascending=_least_is_best(logged.score))],
            pinned_columns=logged.columns,
        )
        blocks += [wr.H2(heading), wr.PanelGrid(runsets=[runs], panels=panels)]
    return wr.Report(
        entity=entity, project=project, title=f"{group}: birdlab"[:128], blocks=blocks, width="fluid"
    )


def logged_runs(entity: str, project: str, group: str) -> LoggedRuns:
    """Ask the server what the runs of a group have logged.

    Raises:
        BirdlabError: without a login or a connection, or if there are no such runs.
    """
    import wandb

    check_group(group)
    if not logged_in():
        raise BirdlabError(
            "A dashboard is laid out on the W&B server, and there is no login: run `wandb login` (with "
            "WANDB_BASE_URL for a server of your own). Offline runs get there by `wandb sync`; "
            "python -m birdlab.report needs neither."
        )
    try:
        found = list(wandb.Api().runs(f"{entity}/{project}", filters={"group": group}))
        runs = [(run.config, dict(run.summary)) for run in found]
    except (wandb.errors.Error, ValueError, OSError) as error:
        raise BirdlabError(f"W&B can't show the runs of {entity}/{project}: {error}") from error
    if not runs:
        raise BirdlabError(
            f"{entity}/{project} has no runs of the group {group!r}. The group is logger.wandb.group, by "
            "default the study's name; offline runs have to be uploaded first, by `wandb sync`."
        )
    return LoggedRuns.of(runs)


def check_group(group: str) -> None:
    """W&B's filters are read as a formula, without any way to quote a quotation mark or a sign in it.

    Raises:
        BirdlabError: if the group's name holds one.
    """
    if found := sorted(set(group) & set("'\"\\<>=")):
        raise BirdlabError(
            f"--group {group}: W&B can't filter by a name with {' '.join(found)}. Give the runs another "
            "logger.wandb.group, or group them in the workspace by hand."
        )


app = typer.Typer(add_completion=False)


@app.command()
def main(
    entity: Annotated[str, typer.Option(help="The user or team on W&B.")],
    group: Annotated[str, typer.Option(help="Of the runs: logger.wandb.group, by default the study's name.")],
    project: Annotated[str, typer.Option(help="Of the runs: logger.wandb.project.")] = "birdlab",
) -> None:
    """Lay out the W&B workspace and report of a sweep."""
    with command():
        _library()
        logged = logged_runs(entity, project, group)
        console = Console()
        for made in (workspace(logged, entity, project, group), report(logged, entity, project, group)):
            made.save()
            console.print(made.url, soft_wrap=True, highlight=False)


def _logged_key(factor: str, differing: Sequence[str]) -> str | None:
    """The key that stands for a factor: a group is logged as what it builds."""
    if factor not in groups():
        return factor
    below = [key for key in differing if key.startswith(f"{factor}.")]
    return next((key for key in below if key.endswith("._target_")), below[0] if below else None)


def _least_is_best(score: str | None) -> bool:
    return (score or "").rpartition("/")[2] in LOWER_IS_BETTER


def _type(value: Any) -> Any:
    # What the server returns behaves as a mapping without being one.
    return value.get("_type") if hasattr(value, "get") else None


def _library() -> ModuleType:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import wandb_workspaces.expr
            import wandb_workspaces.reports.v2
            import wandb_workspaces.workspaces
    except ImportError as error:
        raise BirdlabError(
            "Dashboards need wandb-workspaces: install it with pip install 'birdlab[dashboard]'."
        ) from error
    library: ModuleType = wandb_workspaces
    return library


if __name__ == "__main__":
    app()
