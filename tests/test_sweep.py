"""A sweep's jobs: which there are, what they are called, and what its directory tells of them."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from birdlab.config import CONF, quoted
from birdlab.errors import BirdlabError
from birdlab.run import Run
from birdlab.sweep import Job, Sweep, parsed, plan

GRID = {"optimizer": "adam,sgd", "optimizer.lr": "0.01,0.0001", "seed": "0,1"}


def names(params: dict[str, str], *typed: str, together: dict[str, list[str]] | None = None) -> list[str]:
    return [job.name for job in plan(Path("sweep"), params, together or {}, typed).jobs]


def test_every_combination_is_a_job_named_after_what_differs() -> None:
    assert names({"optimizer": "adam,sgd", "seed": "0,1"}, "+experiment=focal_tversky", "epochs=3") == [
        "000_adam_seed-0",
        "001_adam_seed-1",
        "002_sgd_seed-0",
        "003_sgd_seed-1",
    ]


def test_what_is_typed_replaces_the_values_of_the_sweep() -> None:
    assert len(names(GRID)) == 8
    assert names(GRID, "optimizer=adagrad,adamw", "seed=5", "optimizer.lr=0.1") == [
        "000_adagrad_seed-5",
        "001_adamw_seed-5",
    ]
    assert len(names(GRID, "loss=bce,dice")) == 16


def test_a_study_that_is_swept_over_stands_in_the_name() -> None:
    assert names({}, "+experiment=focal_tversky,cnn_unet") == [
        "000_focal_tversky_seed-0",
        "001_cnn_unet_seed-0",
    ]


def test_words_that_go_with_a_value_are_added_to_its_jobs_unless_typed() -> None:
    together = {"loss=cross_entropy": ["model.out_channels=2"]}
    jobs = plan(Path("sweep"), {"loss": "bce,cross_entropy"}, together, []).jobs
    assert [job.overrides for job in jobs] == [("loss=bce",), ("loss=cross_entropy", "model.out_channels=2")]
    typed = plan(Path("sweep"), {"loss": "cross_entropy"}, together, ["model.out_channels=1"]).jobs
    assert typed[0].overrides == ("loss=cross_entropy", "model.out_channels=1")


def test_they_take_the_place_of_what_the_config_says_of_all_jobs() -> None:
    params, together = {"ablation": "none,long", "epochs": "1"}, {"ablation=long": ["epochs=5"]}
    jobs = plan(Path("sweep"), params, together, []).jobs
    assert [job.overrides for job in jobs] == [("ablation=none", "epochs=1"), ("ablation=long", "epochs=5")]
    typed = plan(Path("sweep"), params, together, ["epochs=2"]).jobs
    assert [job.overrides[-1] for job in typed] == ["epochs=2", "epochs=2"]


ABLATIONS: tuple[dict[str, str], dict[str, list[str]]] = (
    {"ablation": "none,plain,silent"},
    {"ablation=plain": ["model.skips=false"], "ablation=silent": ["augment=none", "epochs=5"]},
)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["ablation=plane"], r"ablation=plane: .* there are none, plain, silent"),
        (["augment=physical"], r"augment=physical takes .*ablation=silent, .*: ablation=none,plain\."),
        (["model.skips=true", "ablation=plain"], r"model.skips=true takes the place .*Leave it out\.$"),
    ],
)
def test_an_ablation_that_would_be_a_name_and_no_more_is_refused(words: list[str], said: str) -> None:
    with pytest.raises(BirdlabError, match=said):
        plan(Path("sweep"), *ABLATIONS, words)


def test_some_of_the_ablations_may_be_asked_for_and_be_short() -> None:
    jobs = plan(Path("sweep"), *ABLATIONS, ["ablation=none,plain", "augment=physical"]).jobs
    assert [len(job.overrides) for job in jobs] == [2, 3]
    assert len(plan(Path("sweep"), *ABLATIONS, ["epochs=1", "trainer.limit_train_batches=1"]).jobs) == 3


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("seed=range(0,0)", "empty list"),
        ("seed=choice()", "can't be read"),
        ("seed=1,", "can't be read"),
        ("optimizer.lr=interval(0,1)", "birdlab.tune can"),
    ],
)
def test_what_makes_no_grid_is_refused(word: str, said: str) -> None:
    with pytest.raises(BirdlabError, match=said):
        plan(Path("sweep"), {}, {}, [word])


@given(st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), min_size=1))
def test_any_folder_survives_hydras_grammar(text: str) -> None:
    (override,) = parsed([f"key={quoted('/' + text)}"])
    assert override.value() == "/" + text


@pytest.mark.parametrize("name", [file.stem for file in sorted((CONF / "sweep").glob("*.yaml"))])
def test_every_shipped_sweep_can_be_gone_on_with(tmp_path: Path, name: str) -> None:
    sweeper = OmegaConf.load(CONF / "sweep" / f"{name}.yaml").hydra.sweeper
    typed = ["+experiment=x", f"+sweep={name}"]
    sweep = plan(tmp_path, sweeper.params, sweeper.get("together", {}), typed)
    with sweep.begun():
        assert Sweep.open(tmp_path) == sweep


@pytest.mark.parametrize(
    "word", ["sweep={resume: /elsewhere}", "+sweep=/elsewhere", "sweep.resume=/elsewhere"]
)
def test_a_sweep_from_elsewhere_points_nowhere_else(tmp_path: Path, word: str) -> None:
    with Sweep(tmp_path, (Job("000", (word,)),)).begun(), pytest.raises(BirdlabError, match="changes more"):
        Sweep.open(tmp_path)


def test_a_directory_that_holds_anything_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    sweep = plan(tmp_path / "sweep", {"seed": "0,1"}, {}, [])
    with sweep.begun():
        pass
    assert Sweep.open(tmp_path / "sweep") == sweep
    other = plan(tmp_path / "sweep", {"seed": "2,3"}, {}, [])
    with pytest.raises(BirdlabError, match=r"occupied.*sweep.resume=.*hydra.sweep.dir"), other.begun():
        pass
    assert Sweep.open(tmp_path / "sweep") == sweep
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").touch()
    with pytest.raises(BirdlabError, match="occupied"), Sweep(tmp_path / "thesis", sweep.jobs).begun():
        pass


def test_one_process_at_a_time_runs_a_sweep(tmp_path: Path) -> None:
    sweep = plan(tmp_path / "sweep", {"seed": "0,1"}, {}, [])
    with sweep.begun(), pytest.raises(BirdlabError, match="another process"), sweep.held():
        pass


def test_jobs_are_finished_cut_short_or_missing(tmp_path: Path) -> None:
    sweep = plan(tmp_path, {"seed": "0,1,2,3"}, {}, [])
    finished, killed, failed, _ = (sweep.run(job) for job in sweep.jobs)
    finished.note(status="finished")
    killed.note(status="running")
    killed.config_file.touch()
    failed.note(status="failed", error="birdlab.errors.BirdlabError: no such data\nmore")
    assert [job.name for job in sweep.pending()] == ["001_seed-1", "002_seed-2", "003_seed-3"]
    words = [sweep.words(job, trust=True) for job in sweep.pending()]
    assert words == [[f"resume={killed.directory}", "trust=true"], ["seed=2"], ["seed=3"]]
    with pytest.raises(BirdlabError) as told:
        sweep.check_finished()
    assert str(told.value).splitlines() == [
        "3 of the sweep's 4 runs did not finish:",
        "  001_seed-1: was killed",
        "  002_seed-2: no such data",
        "  003_seed-3: never began",
        f"Once mended, the others stay as they are: sweep.resume={tmp_path}",
    ]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "it has no sweep.json"),
        ("{", "damaged"),
        ('{"jobs": [{"overrides": []}]}', "damaged"),
        (
            json.dumps({"jobs": [{"name": "../../elsewhere", "overrides": []}]}),
            "no name of a run's directory",
        ),
        (
            json.dumps({"jobs": [{"name": "000", "overrides": ["++hydra.callbacks.x._target_=os.abort"]}]}),
            "changes more than its own settings",
        ),
    ],
)
def test_a_folder_that_is_no_sweep_is_refused(tmp_path: Path, content: str | None, said: str) -> None:
    if content is not None:
        (tmp_path / "sweep.json").write_text(content)
    with pytest.raises(BirdlabError, match=said):
        Sweep.open(tmp_path)


def test_a_single_run_is_told_from_a_sweep(tmp_path: Path) -> None:
    Run(tmp_path).config_file.touch()
    with pytest.raises(BirdlabError, match=f"go on with it by resume={tmp_path}"):
        Sweep.open(tmp_path)
    with pytest.raises(BirdlabError, match="there is no such folder"):
        Sweep.open(tmp_path / "nowhere")


def test_two_processes_never_train_in_one_directory(tmp_path: Path) -> None:
    with Run(tmp_path).held(), pytest.raises(BirdlabError, match="trained by another"), Run(tmp_path).held():
        pass


def test_a_job_has_the_words_it_is_listed_with(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path / "sweep", (Job("000_seed-0", ("seed=0", 'data.root="/a b"')),))
    with sweep.begun():
        assert Sweep.open(sweep.directory).jobs == sweep.jobs
