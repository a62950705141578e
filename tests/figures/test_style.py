import subprocess
import sys
from pathlib import Path

import matplotlib as mpl
import pytest
from matplotlib.image import imread

from birdlab.figures import save, threshold_curve
from birdlab.figures.style import COLUMN, new_figure


def test_a_column_is_a_column_at_300_dpi(tmp_path: Path) -> None:
    save(threshold_curve([0, 1], [0.2, 0.4], chosen=0.5), tmp_path / "a.png")
    assert imread(tmp_path / "a.png").shape[1] == round(COLUMN * 300)


@pytest.mark.parametrize("suffix", ["png", "pdf", "svg"])
def test_the_same_figure_is_the_same_file(tmp_path: Path, suffix: str) -> None:
    for name in ("one", "two"):
        save(threshold_curve([0, 1], [0.2, 0.4], chosen=0.5), tmp_path / f"{name}.{suffix}")
    assert (tmp_path / f"one.{suffix}").read_bytes() == (tmp_path / f"two.{suffix}").read_bytes()
    assert len(list(tmp_path.iterdir())) == 2


def test_a_figure_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a.png"
    file.write_text("old")
    figure = new_figure(1, 1)

    def fail(path: Path, **settings: object) -> None:
        Path(path).write_text("half")
        raise OSError("disk full")

    monkeypatch.setattr(figure, "savefig", fail)
    with pytest.raises(OSError, match="disk full"):
        save(figure, file)
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_the_look_does_not_depend_on_the_users_settings_nor_change_them(tmp_path: Path) -> None:
    save(threshold_curve([0, 1], [0.2, 0.4], chosen=0.5), tmp_path / "plain.png")
    with mpl.rc_context({"font.size": 30, "axes.facecolor": "red", "lines.linewidth": 9}):
        save(threshold_curve([0, 1], [0.2, 0.4], chosen=0.5), tmp_path / "mine.png")
        assert mpl.rcParams["font.size"] == 30
    assert (tmp_path / "plain.png").read_bytes() == (tmp_path / "mine.png").read_bytes()


def test_saving_is_silent(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        save(threshold_curve([0, 1], [0.2, 0.4], chosen=0.5), tmp_path / "a.pdf")
    assert caplog.records == []


def test_no_window_system_is_touched() -> None:
    program = """
import sys
import matplotlib
from birdlab.figures import threshold_curve
threshold_curve([0, 1], [0.2, 0.4], chosen=0.5)
# torchmetrics imports pyplot, too; a backend is chosen by the first figure that is made with it.
sys.exit(matplotlib.get_backend(auto_select=False) is not None)
"""
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0
