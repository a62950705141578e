"""What the README shows, typed as it stands there."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
OWN = README.split("## A loss, a network or a data set of your own")[1].split("## Notes")[0]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["my_loss", "my_net", "my_data"])
def test_ten_lines_make_a_part_of_ones_own(name: str, tmp_path: Path, tiny_pairs: Path) -> None:
    python, shell = next(
        found
        for found in re.findall(r"```python\n(.*?)```\n\n```bash\n(.*?)```", OWN, re.DOTALL)
        if found[0].startswith(f"# {name}.py")
    )
    lines = [line for line in python.splitlines() if line.strip() and not line.startswith("#")]
    assert len(lines) <= 10
    (tmp_path / f"{name}.py").write_text(python)
    # As typed, but on a few tiny pictures and with a tiny network where the example has its own neither.
    if name != "my_data":
        shell += f" data=birdsounds_denoising data.root={tiny_pairs} data.image_size=[32,32]"
    if name != "my_net":
        shell += " model.widths=[4,8]"
    shell = shell.replace("\n ", " ").replace("python", sys.executable) + " logger=csv trainer=cpu"
    environment = os.environ | {"BIRDLAB_CACHE": str(tmp_path / "cache")}
    done = subprocess.run(shell, shell=True, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "energy threshold" in done.stdout
    (run,) = (tmp_path / "outputs" / "segmentation").iterdir()
    refused = subprocess.run(
        [sys.executable, "-m", "birdlab.evaluate", run],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert refused.returncode == 2
    assert "--trust" in refused.stderr


def test_links_lead_somewhere() -> None:
    root = Path(__file__).parents[1]
    for link in re.findall(r"\]\(([^)#]+)\)", README):
        assert link.startswith("http") or (root / link).exists(), link
