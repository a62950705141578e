"""birdlab as it is installed by other people: from a wheel, and run from any folder."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_a_wheel_carries_its_configs(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", tmp_path, ROOT]
    subprocess.run(build, check=True)
    (wheel,) = tmp_path.glob("birdlab-*.whl")
    installed = tmp_path / "installed"
    zipfile.ZipFile(wheel).extractall(installed)
    assert (installed / "hydra_plugins/birdlab/sweeper.py").is_file()
    shipped = {path.relative_to(ROOT / "conf") for path in (ROOT / "conf").rglob("*.yaml")}
    assert {path.relative_to(installed / "birdlab/conf") for path in installed.rglob("*.yaml")} == shipped

    program = (
        "import birdlab, birdlab.config as c; cfg = c.compose(['+experiment=focal_tversky']);"
        "print(birdlab.__file__, c.CONF, cfg.name)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [
        str(installed / "birdlab" / "__init__.py"),
        str(installed / "birdlab" / "conf"),
        "focal_tversky",
    ]


def test_every_verb_says_what_it_does(tmp_path: Path) -> None:
    help_text = subprocess.run(
        [sys.executable, "-c", "from birdlab.cli import main; main()", "--help"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for verb in ("train", "evaluate", "preview", "tune"):
        assert verb in help_text
    unknown = subprocess.run(
        [sys.executable, "-c", "from birdlab.cli import main; main()", "trian"],
        capture_output=True,
        text=True,
    )
    assert unknown.returncode == 2
    assert "there is no verb 'trian'" in unknown.stderr
