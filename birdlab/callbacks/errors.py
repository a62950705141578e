"""The error analysis of a test, in the run directory and on the dashboard."""

from dataclasses import asdict
from pathlib import Path

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import WandbLogger

from birdlab import figures
from birdlab.analysis import FACTORS, binned, worst
from birdlab.callbacks.figures import Chosen, data_of, iou_by_threshold
from birdlab.evaluation.segmentation import samples_with_calls
from birdlab.files import write_csv
from birdlab.metrics import THRESHOLDS, ReliabilityCurve
from birdlab.tasks import SegmentationTask


class ErrorAnalysis(Callback):
    """When testing ends, where the network goes wrong, at the threshold that validation data chose.

    ``errors`` shows over- and under-segmentation, and scores against SNR, foreground and call length where
    they are known; ``worst`` the samples of the lowest IoU; ``calibration`` whether probabilities mean what
    they say; ``threshold`` the IoU of validation data over the threshold. Each is a PNG and a PDF;
    ``errors.csv``, ``calibration.csv`` and ``threshold.csv`` hold the numbers that are drawn.

    Args:
        samples: in ``worst``.
        folder: where to; None is ``figures/`` of the run directory.
    """

    suits = SegmentationTask

    def __init__(self, samples: int = 10, folder: Path | None = None) -> None:
        self.samples = samples
        self.folder = folder

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, SegmentationTask)
        data, task = data_of(trainer), pl_module
        # Every rank has its share of the validation data; what follows is for one of them.
        curve = iou_by_threshold(trainer, task, data) if data.splits["val"] else []
        if not trainer.is_global_zero:
            return
        folder = self.folder or Path(trainer.default_root_dir) / "figures"

        rows = samples_with_calls(data, task.tested, data.tested)
        bins = [each for factor in FACTORS for each in binned(rows, factor)]
        figures.save_for_paper(figures.error_analysis(rows, bins), folder / "errors")
        write_csv(folder / "errors.csv", [asdict(each) for each in bins])

        unscaled = task.unscaled_reliability if float(task.temperature) != 1 else None
        diagram = figures.reliability_diagram(task.reliability, unscaled)
        figures.save_for_paper(diagram, folder / "calibration")
        write_csv(folder / "calibration.csv", reliability_table(task.reliability, "pixels"))

        drawn = ["errors", "worst", "calibration"]
        if curve:
            thresholds = [task.reported(each) for each in THRESHOLDS]
            chart = figures.threshold_curve(thresholds, curve, chosen=task.reported_threshold)
            figures.save_for_paper(chart, folder / "threshold")
            pairs = zip(thresholds, curve, strict=True)
            write_csv(folder / "threshold.csv", [{"threshold": each, "iou": iou} for each, iou in pairs])
            drawn.append("threshold")

        index_of = {sample.id: index for index, sample in enumerate(data.splits[data.tested])}
        failed = [rows[index] for index in worst(rows, self.samples)]
        shown = Chosen(data, data.tested, [index_of[row["id"]] for row in failed])
        panels = shown.at_native_size(trainer, task)
        panels["ids"] = [
            f"{row['id']}, {row['snr_db']:.0f} dB" if "snr_db" in row else row["id"] for row in failed
        ]
        figures.save_for_paper(figures.prediction_panels(**panels), folder / "worst", dpi=150)

        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                for name in drawn:
                    logger.log_image(key=f"test/{name}", images=[str(folder / f"{name}.png")])


def reliability_table(curve: ReliabilityCurve, counted: str) -> list[dict[str, float]]:
    """A row for each bin, as in ``calibration.csv``; ``counted`` are what its predictions are about."""
    bins = len(curve.count)
    columns = zip(curve.count.tolist(), curve.probability.tolist(), curve.frequency.tolist(), strict=True)
    return [
        {"low": index / bins, "high": (index + 1) / bins, counted: count, "probability": p, "frequency": f}
        for index, (count, p, f) in enumerate(columns)
    ]
