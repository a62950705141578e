"""``python -m birdlab.tune +experiment=NAME 'optimizer.lr=tag(log,interval(1e-4,1e-1))'``: good settings.

Takes the words of ``birdlab.train``, with a range for each setting to be searched: ``interval(LOW,HIGH)``,
``tag(log,interval(LOW,HIGH))``, ``int(interval(LOW,HIGH))``, ``range(FIRST,END,STEP)`` or ``A,B,C``. Optuna
proposes, judged by the monitored score on validation data; each trial leaves an ordinary run directory.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep
from lightning import Callback, LightningModule, Trainer
from omegaconf import DictConfig
from rich.console import Console

from birdlab import config
from birdlab.errors import BirdlabError, command
from birdlab.process import release_memory, set_up_process
from birdlab.run import Run
from birdlab.sweep import parsed
from birdlab.train import train

try:
    import optuna
    from optuna.distributions import (
        BaseDistribution,
        CategoricalDistribution,
        FloatDistribution,
        IntDistribution,
    )
    from optuna.trial import FrozenTrial, TrialState
except ImportError:
    raise SystemExit("birdlab: birdlab.tune needs Optuna: pip install 'birdlab[tune]'") from None


MOST_ATTEMPTS = 3
"""At a trial that kills the process, as one that takes all memory does."""


class Pruning(Callback):
    """Report the monitored score to Optuna after each epoch, and stop a trial that it gives up.

    Args:
        trial: as asked of a study.
        monitor: name of the score.

    Raises:
        optuna.TrialPruned: once the pruner says so.
    """

    def __init__(self, trial: optuna.Trial, monitor: str) -> None:
        self.trial = trial
        self.monitor = monitor

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.sanity_checking:
            return
        self.trial.report(float(trainer.callback_metrics[self.monitor]), trainer.current_epoch)
        if self.trial.should_prune():
            raise optuna.TrialPruned(f"given up after epoch {trainer.current_epoch}")


def search_space(words: Sequence[str]) -> tuple[list[str], dict[str, BaseDistribution]]:
    """The words that stay, and of each key that is to be searched the distribution.

    Raises:
        BirdlabError: if there is nothing to search, or a range can't be searched.
    """
    overrides = parsed(words)
    fixed = [override.input_line or "" for override in overrides if not override.is_sweep_override()]
    space = {o.get_key_element(): distribution(o) for o in overrides if o.is_sweep_override()}
    if not space:
        raise BirdlabError(
            "There is nothing to search. Give some key a range: loss=bce,dice or "
            "'optimizer.lr=tag(log,interval(1e-4,1e-1))'."
        )
    return fixed, space


def distribution(override: Override) -> BaseDistribution:
    """Optuna's distribution of the values that Hydra's grammar gives a key."""
    value = override.value()
    try:
        if isinstance(value, IntervalSweep):
            assert value.start is not None
            assert value.end is not None
            log = "log" in value.tags
            if isinstance(value.start, int) and isinstance(value.end, int):
                return IntDistribution(value.start, value.end, log=log)
            return FloatDistribution(value.start, value.end, log=log)
        if isinstance(value, RangeSweep):
            numbers = [float(number) for number in value.range()]
            low, high, step = min(numbers), max(numbers), abs(float(value.step))
            if all(number.is_integer() for number in (low, high, step)):
                return IntDistribution(int(low), int(high), step=int(step))
            return FloatDistribution(low, high, step=step)
        return CategoricalDistribution(list(override.sweep_string_iterator()))
    except ValueError as error:
        raise BirdlabError(f"{override.input_line}: this can't be searched ({error}).") from error


def open_study(
    name: str, storage: Path, cfg: DictConfig, fixed: Sequence[str], space: Mapping[str, BaseDistribution]
) -> optuna.Study:
    """The study in a SQLite file, new or gone on with.

    Raises:
        BirdlabError: if a study of this name searches something else.
    """
    storage.parent.mkdir(parents=True, exist_ok=True)
    epochs = max(0, cfg.trainer.max_epochs or 0)  # null and -1 are no limit
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        study_name=name,
        storage=f"sqlite:///{storage}",
        direction="maximize" if cfg.monitor.mode == "max" else "minimize",
        load_if_exists=True,
        pruner=optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=epochs // 5),
    )
    # A sampler draws from its seed on: with that of the first trials it would propose them again.
    study.sampler = optuna.samplers.TPESampler(seed=cfg.seed + len(study.trials))
    asked = {
        "words": sorted(fixed),
        "space": {key: optuna.distributions.distribution_to_json(space[key]) for key in sorted(space)},
        "monitor": cfg.monitor.metric,
    }
    begun = {key: study.user_attrs.get(key, wanted) for key, wanted in asked.items()}
    for key, wanted in asked.items():
        if begun[key] != wanted:
            raise BirdlabError(
                f"The study {name!r} in {storage} was begun with other {key}: {begun[key]}, not {wanted}. "
                "Go on with those, or choose another --study."
            )
        study.set_user_attr(key, wanted)
    return study


def check_own(study: optuna.Study, directory: Path) -> None:
    """The runs in a directory are the study's: of another one's, a trial would go on with other settings.

    Raises:
        BirdlabError: if it doesn't know one.
    """
    known = {trial.user_attrs.get("run") for trial in study.trials}
    strange = sorted(
        run.parent.name for run in directory.glob("*/config.yaml") if run.parent.name not in known
    )
    if strange:
        raise BirdlabError(
            f"{directory} holds runs that the study {study.study_name!r} doesn't know, e.g. {strange[0]}: "
            "those of another study file. Give that one (--storage), or another name (--study)."
        )


def tune(
    study: optuna.Study,
    fixed: Sequence[str],
    space: Mapping[str, BaseDistribution],
    trials: int,
    directory: Path,
    console: Console,
) -> None:
    """Run trials, one after the other; first those that were cut short, each from its last checkpoint.

    A setting that fails (a rate that makes the loss infinite, say) is a failed trial and ends nothing.
    """
    for _ in range(trials):
        cut_short = next(
            (old for old in study.get_trials(states=(TrialState.RUNNING,)) if _abandoned(old, directory)),
            None,
        )
        if cut_short is not None:
            study.tell(cut_short.number, state=TrialState.FAIL)
            attempt = cut_short.user_attrs.get("attempt", 1) + 1
            if attempt > MOST_ATTEMPTS:
                console.print(f"trial {cut_short.number}: killed {MOST_ATTEMPTS} times, so it is given up")
                continue
            study.enqueue_trial(
                cut_short.params,
                user_attrs={"run": cut_short.user_attrs["run"], "attempt": attempt},
            )
        trial = study.ask(dict(space))
        words = [f"{key}={value}" for key, value in trial.params.items()]
        if cut_short is not None:
            for epoch, value in cut_short.intermediate_values.items():
                trial.report(value, epoch)
        short = [f"{key}={_short(value)}" for key, value in trial.params.items()]
        name = trial.user_attrs.get("run", config.job_name(trial.number, short))
        trial.set_user_attr("run", name)
        said = run_trial(study, trial, [*fixed, *words], directory / name)
        console.print(f"trial {trial.number}: {' '.join(words)}: {said}", highlight=False, soft_wrap=True)


def run_trial(study: optuna.Study, trial: optuna.Trial, words: Sequence[str], directory: Path) -> str:
    """Train once and tell the study; what to say of it."""
    begun = (directory / "config.yaml").is_file()
    run = Run.open(directory) if begun else Run.new(directory)
    try:
        with run.held():  # from now on no other process takes the trial for one that was cut short
            cfg = run.config(trust="trust=true" in words) if begun else config.compose(words)
            run.note(command=["birdlab.train", *words])
            train(cfg, run, [Pruning(trial, cfg.monitor.metric)])
    except optuna.TrialPruned as reason:
        run.note(status="pruned", error=None)
        study.tell(trial, state=TrialState.PRUNED)
        return str(reason)
    except BirdlabError as error:
        study.tell(trial, state=TrialState.FAIL)
        return f"failed. {error}"
    except Exception as error:
        # Out of memory, for instance: of this trial's settings, not of the study.
        study.tell(trial, state=TrialState.FAIL)
        said = f"failed. {type(error).__name__}: {error}"
    else:
        return _judged(study, trial, cfg)
    release_memory()
    return said


def _judged(study: optuna.Study, trial: optuna.Trial, cfg: DictConfig) -> str:
    best = max if cfg.monitor.mode == "max" else min
    scores = study.trials[trial.number].intermediate_values
    study.tell(trial, best(scores.values()))
    return f"{best(scores.values()):.4f}"


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _abandoned(trial: FrozenTrial, directory: Path) -> bool:
    """Whether nobody is running the trial: whoever is holds its run directory."""
    name = trial.user_attrs.get("run")
    if name is None or not (directory / name).is_dir():
        return False
    try:
        with Run(directory / name).held():
            return True
    except BirdlabError:
        return False


app = typer.Typer(add_completion=False)


@app.command()
def main(
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            help="As for birdlab.train, with ranges: loss=bce,dice 'optimizer.lr=interval(0.001,0.1)'"
        ),
    ] = None,
    trials: Annotated[int, typer.Option(min=1, help="How many to run now.")] = 20,
    study: Annotated[str, typer.Option(help="Its name. The same name again adds trials to it.")] = "optuna",
    storage: Annotated[
        Path | None, typer.Option(help="The SQLite file; by default study.db beside the trials.")
    ] = None,
) -> None:
    """Search good settings with Optuna: TPE proposes, the median of other trials prunes."""
    with command():
        set_up_process()
        config.check_overrides(overrides or [])
        fixed, space = search_space(overrides or [])
        cfg = config.compose(fixed)
        if cfg.trainer.devices != 1 or cfg.trainer.num_nodes != 1:
            raise BirdlabError(f"trainer.devices={cfg.trainer.devices}: birdlab.tune trains on one device.")
        directory = Path("outputs") / cfg.name / f"{study}_tune"
        directory.mkdir(parents=True, exist_ok=True)
        console = Console()
        opened = open_study(study, storage or directory / "study.db", cfg, fixed, space)
        check_own(opened, directory)
        tune(opened, fixed, space, trials, directory.resolve(), console)
        done = opened.get_trials(states=(TrialState.COMPLETE,))
        if not done:
            raise BirdlabError(f"No trial has finished. Their runs are in {directory}.")
        best: Any = opened.best_trial
        words = " ".join([*fixed, *(f"{key}={value}" for key, value in best.params.items())])
        console.print(
            f"Best of {len(opened.trials)}: trial {best.number}, {cfg.monitor.metric} {best.value:.4f}\n"
            f"  {directory / best.user_attrs['run']}\n  python -m birdlab.train {words}",
            highlight=False,
            soft_wrap=True,
        )


if __name__ == "__main__":
    app()
