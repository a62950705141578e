"""Where metrics go: a table in the run directory, and Weights & Biases."""

import csv
import io
import netrc
import os
import re
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities import rank_zero_only
from rich.console import Console

from birdlab.files import write_text


class History(Logger):
    """``metrics.csv``: one row an epoch, always whole on disk.

    A resumed run goes on in the same file: from the epoch it resumes with, rows are dropped and written anew.
    Test scores stand in ``metrics.json`` and not here.

    Args:
        directory: the run directory.
    """

    def __init__(self, directory: Path) -> None:
        super().__init__()
        self.file = directory / "metrics.csv"
        self._rows = _read_rows(self.file)
        self._begun: set[int] = set()
        self._early: dict[str, float] = {}
        self._saved = True

    @property
    def name(self) -> str:
        """Of the kind of logger."""
        return "history"

    @property
    def version(self) -> None:
        """There is one history a run."""

    def log_hyperparams(self, *args: Any, **settings: Any) -> None:
        """Nothing: they are in ``config.yaml``."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Add to the row of ``metrics["epoch"]``; what comes without an epoch belongs to the next one."""
        values = {name: value for name, value in metrics.items() if not name.startswith("test")}
        epoch = values.pop("epoch", None)
        if epoch is None:
            self._early |= values
        elif values:
            row = self._row(int(epoch))
            # Lightning logs float32: as such 0.001 is written 0.001, and read back as the same number.
            row |= {name: str(np.float32(value)) for name, value in (self._early | values).items()}
            row["step"] = str(step)
            self._early = {}
            self._saved = False

    @rank_zero_only
    def save(self) -> None:
        """Write the file, if it is not as it should be already."""
        if self._saved:
            return
        names = sorted({name for row in self._rows.values() for name in row} - {"epoch", "step"})
        text = io.StringIO()
        table = csv.DictWriter(text, ["epoch", "step", *names], lineterminator="\n")
        table.writeheader()
        table.writerows(self._rows[epoch] for epoch in sorted(self._rows))
        write_text(self.file, text.getvalue())
        self._saved = True

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Write what is not written yet."""
        self.save()

    def _row(self, epoch: int) -> dict[str, str]:
        if epoch not in self._begun:
            self._rows = {earlier: row for earlier, row in self._rows.items() if earlier < epoch}
            self._rows[epoch] = {"epoch": str(epoch)}
            self._begun.add(epoch)
        return self._rows[epoch]


def read_history(file: Path) -> list[dict[str, float]]:
    """The rows of a ``metrics.csv``, each with the metrics it has; none if there is no file."""
    return [
        {name: float(value) for name, value in row.items() if value}
        for _, row in sorted(_read_rows(file).items())
    ]


class WandB(WandbLogger):
    """Weights & Biases; without a login the run is kept on disk, and the last line says how to upload it.

    The run's id is that of the runs found in the directory already, so that a resumed training goes on with
    its run. wandb is imported when this is built, not before.

    Args:
        directory: the run directory; the run's files lie in ``wandb/`` below it.
        project: in which it is shown.
        group: of runs that belong together; None for none.
        name: of the run; None is the directory's name.
    """

    def __init__(
        self,
        directory: Path,
        *,
        project: str = "birdlab",
        group: str | None = None,
        name: str | None = None,
    ) -> None:
        import wandb

        self.offline = "WANDB_MODE" not in os.environ and not logged_in()
        self.directory = directory
        self._status = "failed"
        self._step = -1
        super().__init__(
            save_dir=directory,
            project=project,
            group=group,
            name=name or directory.name,
            id=_known_id(directory) or secrets.token_hex(4),
            mode="offline" if self.offline else None,
            # wandb has its own words for an upload, and would wrap stdout, progress bars included.
            settings=wandb.Settings(silent=self.offline, console="off"),
        )
        # Lightning hands it over unset, and wandb warns of it even so.
        self._wandb_init.pop("anonymous", None)

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Log at the trainer's step, so that a resumed run goes on where it was, not at 0."""
        self._step = max(self._step + 1, step or 0)
        row = dict(metrics) if step is None else {**metrics, "trainer/global_step": step}
        self.experiment.log(row, step=self._step, commit=True)

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Remember how it went; Lightning says so after each of its loops, and the test is still to come."""
        self._status = status
        super().finalize(status)

    @rank_zero_only
    def finish(self) -> None:
        """Close the run. Until then, whatever else the process logs to wandb would go on with it."""
        if self._experiment is None:
            return
        self._experiment.finish(exit_code=0 if self._status == "success" else 1)
        self._experiment = None
        kept = sorted((self.directory / "wandb").glob("offline-run-*"))
        if kept:
            where = kept[-1] if len(kept) == 1 else self.directory / "wandb" / "offline-run-*"
            Console().print(
                f"W&B is offline; upload with: wandb sync {where}", soft_wrap=True, highlight=False
            )


def logged_in() -> bool:
    """Whether wandb would find credentials: in the environment, its settings file or a netrc file."""
    import wandb

    settings = wandb.setup().settings
    # The environment once more: wandb has looked at it when it was first set up in this process.
    if settings.api_key or settings.identity_token_file or os.environ.get("WANDB_API_KEY"):
        return True
    hosts = [urlsplit(settings.base_url).hostname or ""]
    if settings.base_url == wandb.Settings().base_url:
        hosts.append("api.wandb.ai")  # where logins to the public server used to be kept
    home = [Path.home() / ".netrc", Path.home() / "_netrc"]
    for file in [Path(os.environ["NETRC"])] if "NETRC" in os.environ else home:
        try:
            logins = netrc.netrc(file.expanduser())
        except (OSError, netrc.NetrcParseError):
            continue
        if any(logins.authenticators(host) for host in hosts):
            return True
    return False


def _known_id(directory: Path) -> str | None:
    names = sorted(path.name for path in (directory / "wandb").glob("*run-*-*") if path.is_dir())
    found = re.fullmatch(r"(?:offline-)?run-\d{8}_\d{6}-(.+)", names[-1]) if names else None
    return found[1] if found else None


def _read_rows(file: Path) -> dict[int, dict[str, str]]:
    if not file.is_file():
        return {}
    with file.open(encoding="utf-8", newline="") as lines:
        return {
            int(row["epoch"]): {name: value for name, value in row.items() if value}
            for row in csv.DictReader(lines)
        }
