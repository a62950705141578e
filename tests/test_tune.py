"""Searching settings: what is searched, what a trial leaves, and going on with a study."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console

from birdlab import config
from birdlab.errors import BirdlabError
from birdlab.loggers import read_history
from birdlab.run import Run

optuna = pytest.importorskip("optuna")

from optuna.distributions import (  # noqa: E402
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import TrialState  # noqa: E402

from birdlab import tune  # noqa: E402

RATE = "optimizer.lr=tag(log,interval(1e-3,1e-1))"


@pytest.mark.parametrize(
    ("words", "distribution"),
    [
        ("interval(0.5,2)", FloatDistribution(0.5, 2)),
        ("tag(log,interval(1e-4,1e-1))", FloatDistribution(1e-4, 1e-1, log=True)),
        ("int(interval(1,8))", IntDistribution(1, 8)),
        ("tag(log,int(interval(1,8)))", IntDistribution(1, 8, log=True)),
        ("range(2,9,2)", IntDistribution(2, 8, step=2)),
        ("range(0,1,0.25)", FloatDistribution(0, 0.75, step=0.25)),
        ("choice(bce,dice)", CategoricalDistribution(["bce", "dice"])),
        ("null,imagenet", CategoricalDistribution(["null", "imagenet"])),
        ("[4,8],[8,16]", CategoricalDistribution(["[4,8]", "[8,16]"])),
    ],
)
def test_hydras_words_for_ranges_are_searched(words: str, distribution: object) -> None:
    fixed, space = tune.search_space(["+experiment=focal_tversky", f"key={words}", "seed=3"])
    assert fixed == ["+experiment=focal_tversky", "seed=3"]
    assert space == {"key": distribution}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["seed=3"], "nothing to search"),
        (["optimizer.lr=tag(log,interval(0,1))"], "can't be searched"),
        (["optimizer.lr=interval(2,1)"], "can't be searched"),
        (["seed=range(0,0)"], "can't be searched"),
        (["optimizer.lr=interval(1"], "can't be read"),
    ],
)
def test_what_can_not_be_searched_is_refused(words: list[str], said: str) -> None:
    with pytest.raises(BirdlabError, match=said):
        tune.search_space(words)


def study_in(folder: Path, words: tuple[str, ...], *ranges: str) -> "optuna.Study":
    fixed, space = tune.search_space([*words, *ranges])
    return tune.open_study("rates", folder / "study.db", config.compose(fixed), fixed, space)


def run_trials(
    study: "optuna.Study", folder: Path, words: tuple[str, ...], *ranges: str, trials: int
) -> None:
    fixed, space = tune.search_space([*words, *ranges])
    tune.tune(study, fixed, space, trials, folder, Console(quiet=True))


def test_a_study_of_something_else_is_not_gone_on_with(tmp_path: Path) -> None:
    study_in(tmp_path, ("+experiment=focal_tversky",), RATE)
    assert study_in(tmp_path, ("+experiment=focal_tversky",), RATE).trials == []
    with pytest.raises(BirdlabError, match="begun with other space"):
        study_in(tmp_path, ("+experiment=focal_tversky",), "loss=bce,dice")
    with pytest.raises(BirdlabError, match="begun with other words"):
        study_in(tmp_path, ("+experiment=focal_tversky", "loss=dice"), RATE)


def test_the_better_end_is_that_of_the_monitored_score(tmp_path: Path) -> None:
    assert study_in(tmp_path / "a", (), RATE).direction.name == "MAXIMIZE"
    loss = ("monitor.metric=val/loss", "monitor.mode=min")
    assert study_in(tmp_path / "b", loss, RATE).direction.name == "MINIMIZE"


def test_runs_of_another_study_are_not_gone_on_with(tmp_path: Path) -> None:
    (tmp_path / "000_lr-0.004_seed-0").mkdir()
    (tmp_path / "000_lr-0.004_seed-0/config.yaml").touch()
    study = study_in(tmp_path, ("+experiment=focal_tversky",), RATE)
    with pytest.raises(BirdlabError, match=r"'rates' doesn't know, e\.g\. 000_lr-0\.004_seed-0.*--study"):
        tune.check_own(study, tmp_path)
    study.enqueue_trial({"optimizer.lr": 0.01}, user_attrs={"run": "000_lr-0.004_seed-0"})
    tune.check_own(study, tmp_path)


class Always(optuna.pruners.BasePruner):
    """Gives up every trial once it has reported two epochs."""

    def prune(self, study: "optuna.Study", trial: "optuna.trial.FrozenTrial") -> bool:
        return len(trial.intermediate_values) == 2


def test_a_pruned_trial_is_recorded_as_such(tmp_path: Path, tiny_study: tuple[str, ...]) -> None:
    words = (*tiny_study, "trainer.max_epochs=50")
    study = study_in(tmp_path, words, RATE)
    study.pruner = Always()
    run_trials(study, tmp_path, words, RATE, trials=1)
    (trial,) = study_in(tmp_path, words, RATE).trials  # as the file has it
    assert trial.state == TrialState.PRUNED
    run = Run(tmp_path / trial.user_attrs["run"])
    noted = run.read_json("provenance.json")
    assert (noted["status"], noted["error"]) == ("pruned", None)
    # The epoch that settled it is not logged any more.
    assert len(read_history(run.directory / "metrics.csv")) <= 2
    assert not (run.directory / "metrics.json").exists()


def test_out_of_memory_is_of_the_trial_and_not_of_the_study(
    tmp_path: Path, tiny_study: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    def train(*_: object) -> None:
        raise MemoryError("no room")

    monkeypatch.setattr(tune, "train", train)
    study = study_in(tmp_path, tiny_study, RATE)
    run_trials(study, tmp_path, tiny_study, RATE, trials=2)
    assert [trial.state for trial in study.trials] == [TrialState.FAIL] * 2


def test_a_trial_that_kills_its_process_is_given_up(tmp_path: Path, tiny_study: tuple[str, ...]) -> None:
    study = study_in(tmp_path, tiny_study, RATE)
    fixed, space = tune.search_space([*tiny_study, RATE])
    killed = study.ask(dict(space))
    killed.set_user_attr("run", "000")
    killed.set_user_attr("attempt", tune.MOST_ATTEMPTS)
    (tmp_path / "000").mkdir()
    tune.tune(study, fixed, space, 1, tmp_path, Console(quiet=True))
    assert [trial.state for trial in study.trials] == [TrialState.FAIL]


@pytest.mark.slow
def test_a_setting_that_fails_ends_nothing(tmp_path: Path, tiny_study: tuple[str, ...]) -> None:
    words, rates = (*tiny_study, "trainer.max_epochs=1"), "optimizer.lr=-1,0.01"
    study = study_in(tmp_path, words, rates)
    study.enqueue_trial({"optimizer.lr": "-1"})
    study.enqueue_trial({"optimizer.lr": "0.01"})
    run_trials(study, tmp_path, words, rates, trials=2)
    failed, finished = study.trials
    assert (failed.state, finished.state) == (TrialState.FAIL, TrialState.COMPLETE)
    run = Run(tmp_path / "001_lr-0.01_seed-0")
    assert run.finished
    history = read_history(run.directory / "metrics.csv")
    assert finished.value == pytest.approx(max(row["val/iou_resized"] for row in history), rel=1e-6)


def tuned(*words: str, cwd: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "birdlab.tune", *words],
        cwd=cwd,
        env=os.environ | {"BIRDLAB_CACHE": str(cwd / "cache"), "COLUMNS": "200"},
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
def test_a_killed_study_goes_on_with_the_trial_it_was_at(tmp_path: Path, tiny_study: tuple[str, ...]) -> None:
    words = (*tiny_study, RATE, "trainer.max_epochs=12", "--trials", "2", "--study", "rates")
    folder = tmp_path / "outputs" / "focal_tversky" / "rates_tune"

    def cut_short() -> list[Path]:
        return [file for file in folder.glob("001_*/metrics.csv") if len(read_history(file)) >= 3]

    process = tuned(*words, cwd=tmp_path)
    while process.poll() is None and not cut_short():
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    (cut,) = (file.parent for file in cut_short())
    assert not Run(cut).finished

    process = tuned(*words, cwd=tmp_path)
    out, err = process.communicate()
    assert process.returncode == 0, out + err
    assert "python -m birdlab.train +experiment=focal_tversky" in out
    study = optuna.load_study(study_name="rates", storage=f"sqlite:///{folder / 'study.db'}")
    first, killed, resumed, last = study.trials
    assert [trial.state.name for trial in (first, killed, last)] == ["COMPLETE", "FAIL", "COMPLETE"]
    assert (resumed.params, resumed.user_attrs["run"]) == (killed.params, cut.name)
    assert len({trial.params["optimizer.lr"] for trial in (first, resumed, last)}) == 3
    assert resumed.state in (TrialState.COMPLETE, TrialState.PRUNED)
    epochs = [int(row["epoch"]) for row in read_history(cut / "metrics.csv")]
    assert epochs == list(range(len(epochs)))
    runs = sorted(path.name for path in folder.iterdir() if path.is_dir())
    assert [name[:3] for name in runs] == ["000", "001", "003"]
