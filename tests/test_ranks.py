"""Several processes, one run."""

import importlib
from pathlib import Path
from types import ModuleType

import pytest

from birdlab import ranks
from birdlab.devices import Devices
from birdlab.errors import BirdlabError

TWO = Devices("cpu", (0, 1))
SLURM = {
    "SLURM_NTASKS": "2",
    "SLURM_NTASKS_PER_NODE": "2",
    "SLURM_PROCID": "1",
    "SLURM_STEP_ID": "0",
    "SLURM_JOB_NAME": "birds",
}
TORCHRUN = {"TORCHELASTIC_RUN_ID": "birds", "WORLD_SIZE": "2", "RANK": "1"}


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(Path(__file__).parent)
    return importlib.import_module("toy_ranks")


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever starts the tests."""
    for name in SLURM | TORCHRUN:
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("variables", [SLURM, TORCHRUN], ids=["srun", "torchrun"])
def test_processes_started_from_outside_know_their_rank(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]
) -> None:
    assert ranks.outside() is None
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    environment = ranks.outside()
    assert environment is not None
    assert (environment.world_size(), environment.global_rank()) == (2, 1)
    ranks.check(TWO)
    with pytest.raises(
        BirdlabError, match=r"has started 2 processes, but trainer\.devices=1 x trainer\.num_nod"
    ):
        ranks.check(Devices("cpu", (0,)))


def test_one_task_of_slurm_starts_its_ranks_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (SLURM | {"SLURM_NTASKS": "1"}).items():
        monkeypatch.setenv(name, value)
    assert ranks.outside() is None


def test_slurm_must_say_how_many_processes_a_machine_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_NTASKS", "2")
    monkeypatch.setenv("SLURM_STEP_ID", "0")
    with pytest.raises(BirdlabError, match=r"Slurm: .*--ntasks-per-node"):
        ranks.outside()


def test_more_machines_must_be_started_from_outside() -> None:
    with pytest.raises(BirdlabError, match=r"this machine only.*srun.*torchrun"):
        ranks.check(Devices("cuda", (0, 1), nodes=2))


@pytest.mark.slow
def test_ranks_exchange_and_the_first_one_answers(tmp_path: Path, toy: ModuleType) -> None:
    assert ranks.launch(toy.add_up, tmp_path, TWO) == [0, 1]
    assert {file.name for file in tmp_path.iterdir()} == {"rank-0", "rank-1"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fate", "said"),
    [
        ("one_is_killed", r"Process 1 of 2 died \(SIGKILL\).*resume="),
        ("one_is_mistaken", r"^XC1\.png is no pictu"),
    ],
)
def test_a_rank_that_dies_ends_the_others(tmp_path: Path, toy: ModuleType, fate: str, said: str) -> None:
    with pytest.raises(BirdlabError, match=said):
        ranks.launch(getattr(toy, fate), tmp_path, TWO)
