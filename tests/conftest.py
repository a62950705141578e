"""Fixtures shared by all tests."""

import importlib.util
import os
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from hypothesis import settings

from birdlab.data.png import write_image

# Examples are the same in every run, however long one takes beside others.
settings.register_profile("birdlab", deadline=None, derandomize=True)
settings.load_profile("birdlab")

# Tests are tiny and run side by side, in this process and in those they start: more threads would only wait
# for each other.
torch.set_num_threads(1)
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """What a test draws doesn't depend on the tests before it."""
    torch.manual_seed(0)


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Nothing is taken from the user's cache, and nothing left in it."""
    os.environ["BIRDLAB_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real recordings; tests that need it skip where it is absent."""
    default = Path(__file__).parents[1].parent / "shared" / "data"
    folder = Path(os.environ.get("BIRDLAB_REAL_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"no real recordings: {folder} is absent (set BIRDLAB_REAL_DATA)")
    return folder


@pytest.fixture(scope="session")
def tiny_pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight, four and four small pictures in the layout of BirdSoundsDenoising, each with a bright call."""
    root = tmp_path_factory.mktemp("tiny_pairs")
    draw = np.random.default_rng(0)
    for split, count in {"Training": 8, "Valid": 4, "Test": 4}.items():
        for number in range(count):
            image = draw.integers(0, 60, (64, 48), dtype=np.uint8)
            mask = np.zeros_like(image)
            row, column = draw.integers(4, 40, 2)
            mask[row : row + 16, column : column + 8] = 255
            image[mask > 0] += 150
            write_image(root / split / "Images" / f"{split}{number}.png", image)
            write_image(root / split / "Masks" / f"{split}{number}.png", mask)
    return root


@pytest.fixture(scope="session")
def tiny_study(tiny_pairs: Path) -> tuple[str, ...]:
    """Words for birdlab.train that make a training of two epochs, in less time than it takes to start."""
    return (
        "+experiment=focal_tversky",
        "data=birdsounds_denoising",
        f"data.root={tiny_pairs}",
        "data.image_size=[16,16]",
        "model.widths=[4,8]",
        "loader.batch_size=4",
        "trainer=cpu",
        "trainer.max_epochs=2",
        "trainer.precision=32-true",
        "memory_format=contiguous",
        "logger=csv",
    )


@pytest.fixture(scope="session")
def offline_wandb() -> ModuleType:
    """The module tests/offline_wandb.py, which reads what an offline W&B run holds."""
    return _module("offline_wandb.py")


@pytest.fixture(scope="session")
def species_files() -> ModuleType:
    """The module tests/data/species_files.py, which writes recordings in the layout of BirdCLEF 2021."""
    return _module("data/species_files.py")


@pytest.fixture(scope="session")
def tiny_species(species_files: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight recordings of about a second of each of three species, in the layout of BirdCLEF 2021."""
    root = tmp_path_factory.mktemp("tiny_species")
    place = {"latitude": "41.5", "longitude": "2.1", "date": "2021-05-01"}
    names = [f"XC{1000 * species + 100 * number}" for species in (1, 2, 3) for number in range(8)]
    durations = dict.fromkeys(("owl", "wren", "dipper"), [1.2] * 8)
    species_files.birdclef_files(root, durations, dict.fromkeys(names, place))
    return root


@pytest.fixture(scope="session")
def tiny_species_settings(tiny_species: Path) -> list[str]:
    """`tiny_species` on the command line: stacks of 4 segments of 16 frames and 32 bands."""
    return [
        "data=birdclef",
        f"data.root={tiny_species}",
        "data.species=3",
        "data.sample_rate=16000",
        "data.n_fft=512",
        "data.hop=250",
        "data.n_mels=32",
        "data.fmax=7000",
        "data.segments=4",
        "data.segment_s=0.25",
        "data.fractions=[0.5,0.25,0.25]",
    ]


@pytest.fixture(scope="session")
def runs() -> ModuleType:
    """The module tests/prediction/runs.py, which makes run directories."""
    return _module("prediction/runs.py")


def _module(file: str) -> ModuleType:
    """A helper of the tests; they are no package, and pytest imports each file by itself."""
    path = Path(__file__).parent / file
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
