"""Weights & Biases: for looking at, never what a run depends on."""

import netrc
import os
import re
import secrets
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities import rank_zero_only
from rich.console import Console

from birdlab.errors import BirdlabError
from birdlab.run import Run

UPLOAD_S = 300.0
"""How long the end of a run waits for W&B; what is not uploaded by then stays on disk."""


class WandB(WandbLogger):
    """Weights & Biases; without a login the run is kept on disk, and the last line says how to upload it.

    Nothing that goes wrong here ends a training: all that matters is in the run directory.

    The run's id is that of the runs found in the directory already, so that a resumed training goes on with
    its run. wandb is imported when this is built, not before.

    Args:
        directory: the run directory; the run's files lie in ``wandb/`` below it.
        project: in which it is shown.
        group: of runs that belong together; None for none.
        name: of the run; None is the directory's name.
        artifact_mb: when the run has ended well its best checkpoint and ``splits.json`` are kept with it as
            artifacts, each if it has at most so many MB.
    """

    def __init__(
        self,
        directory: Path,
        *,
        project: str = "birdlab",
        group: str | None = None,
        name: str | None = None,
        artifact_mb: float = 50,
    ) -> None:
        import wandb

        self.offline = "WANDB_MODE" not in os.environ and not logged_in()
        self.directory = directory
        self.artifact_mb = artifact_mb
        self._status = "failed"
        self._step = -1
        self._complained = False
        super().__init__(
            save_dir=directory,
            project=project,
            group=group,
            name=name or directory.name,
            id=_known_id(directory) or secrets.token_hex(4),
            mode="offline" if self.offline else None,
            # wandb has its own words for an upload, and would wrap stdout, progress bars included.
            settings=wandb.Settings(
                silent=self.offline, console="off", finish_timeout=UPLOAD_S, finish_timeout_raises=True
            ),
        )
        # Lightning hands it over unset, and wandb warns of it even so.
        self._wandb_init.pop("anonymous", None)

    @property
    def experiment(self) -> Any:
        """wandb's run, begun when it is first asked for; kept on disk if the server doesn't answer.

        Raises:
            BirdlabError: if the server refuses the login.
        """
        import wandb

        try:
            return super().experiment
        except wandb.errors.AuthenticationError as error:
            raise BirdlabError(
                f"W&B refuses the login: {error}. Log in with wandb login --relogin, or set logger=csv."
            ) from error
        except Exception as error:
            self._complain(error)
            # Without the network the run is kept on disk. Without wandb's own service nothing is.
            self.offline = isinstance(error, wandb.errors.CommError)
            self._wandb_init["mode"] = "offline" if self.offline else "disabled"
            return super().experiment

    @rank_zero_only
    def log_hyperparams(self, *args: Any, **settings: Any) -> None:
        """The run's config."""
        with self._forgiven():
            super().log_hyperparams(*args, **settings)

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Log at the trainer's step, so that a resumed run goes on where it was, not at 0."""
        self._step = max(self._step + 1, step or 0)
        row = dict(metrics) if step is None else {**metrics, "trainer/global_step": step}
        with self._forgiven():
            # A server has the steps of a run that is gone on with, and takes no earlier ones.
            self._step = max(self._step, self.experiment.step)
            self.experiment.log(row, step=self._step, commit=True)

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Remember how it went; Lightning says so after each of its loops, and the test is still to come."""
        self._status = status
        super().finalize(status)

    @rank_zero_only
    def finish(self) -> None:
        """Close the run. Until then, whatever else the process logs to wandb would go on with it."""
        import wandb

        if self._experiment is None:
            return
        succeeded = self._status == "success"
        with self._forgiven():
            if succeeded:
                self._keep_artifacts()
        with self._forgiven():
            self._experiment.finish(exit_code=0 if succeeded else 1)
        self._experiment = None
        if self._complained:
            # Or the next run in this process would go on with this one, or with what is left of the service.
            wandb.run = None
            with self._forgiven(), suppress(SystemExit):
                wandb.teardown()
        kept = sorted((self.directory / "wandb").glob("*run-*-*"))
        if kept and (self.offline or self._complained):
            where = kept[-1] if len(kept) == 1 else self.directory / "wandb" / "*run-*-*"
            how = "is offline" if self.offline else "may lack some of this run"
            Console().print(f"W&B {how}; upload with: wandb sync {where}", soft_wrap=True, highlight=False)

    def _keep_artifacts(self) -> None:
        """The best checkpoint, and which data they were: the same artifact for all runs on the same data."""
        import wandb

        run = Run(self.directory)
        data = str(run.read_json("provenance.json").get("data_hash", self.experiment.id))[:12]
        for name, kind, file in (
            (f"model-{self.experiment.id}", "model", run.best),
            (f"data-{data}", "dataset", run.directory / "splits.json"),
        ):
            if file.is_file() and file.stat().st_size <= 1e6 * self.artifact_mb:
                artifact = wandb.Artifact(name, type=kind)
                # The run directory keeps the file: without copies of it in wandb's folders.
                artifact.add_file(str(file), policy="immutable", skip_cache=True)
                self.experiment.log_artifact(artifact)

    @contextmanager
    def _forgiven(self) -> Iterator[None]:
        """Say once what went wrong, and go on."""
        try:
            yield
        except BirdlabError:
            raise
        except Exception as error:
            self._complain(error)

    def _complain(self, error: Exception) -> None:
        if not self._complained:
            print(
                f"W&B fails ({type(error).__name__}: {error}). The training goes on; its history is in "
                f"{self.directory / 'metrics.csv'}.",
                file=sys.stderr,
            )
        self._complained = True


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
