"""``python -m birdlab.export RUN``: one ONNX file, from audio to probabilities, that says what it is."""

import logging
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from rich.console import Console
from rich.markup import escape
from torch import nn

from birdlab import __version__, config
from birdlab import licence as licences
from birdlab.errors import BirdlabError, command, first_line
from birdlab.files import replacing
from birdlab.options import Trust
from birdlab.prediction.onnx_network import mask_facts, run_file, species_facts, written
from birdlab.prediction.run_callers import RunCallers
from birdlab.prediction.run_network import RunNetwork
from birdlab.prediction.run_species import RunNamer
from birdlab.prediction.waveform import MaskOfAudio
from birdlab.run import Run

TOLERANCE = 1e-4
"""Between probabilities in torch and in onnxruntime: the order of a sum makes a hundredth of it."""

_OPSET = 20
_TRACED_S = 7.0
"""Of audio, from which the graph is taken; its lengths stay variable."""


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        path: of the file.
        facts: its metadata.
        difference: largest between its probabilities and torch's.
    """

    path: Path
    facts: Mapping[str, Any]
    difference: float


def export(
    directory: Path,
    path: Path,
    *,
    names: bool = False,
    licence: str | None = None,
    overwrite: bool = False,
    trust: bool = False,
) -> Exported:
    """Write a run's network with its front end, and run the file to see that it says the same.

    The graph's input ``audio`` is float32 [n] at the run's sample rate, of any length. A segmentation run's
    output ``probabilities`` is [F, T], one-sided, in the windows and with the cross-fades of
    ``birdlab.predict``; all windows are in memory at once, so hand over minutes, not hours. A species run's
    is [K], see `birdlab.prediction.waveform.SpeciesOfAudio`. A run of both tasks makes a file of either
    kind, see `birdlab.prediction.waveform.CallersOfAudio`.

    Args:
        directory: of the run.
        path: of the file.
        names: of a run of both tasks: who is heard, not the marks.
        licence: of the data that it was trained on.
        overwrite: replace a file.
        trust: build what birdlab doesn't ship, too.

    Raises:
        BirdlabError: if there is no such run, the file exists, a library is missing, or the network can't be
            expressed in ONNX or says something else there.
    """
    if path.exists() and not overwrite:
        raise BirdlabError(f"{path} exists already. Choose another --output, or add --overwrite.")
    onnx = _onnx()
    run = Run.open(directory)
    model, facts = _parts(run, names=names, trust=trust)
    facts = {**facts, **_about(run, licence, trust=trust)}
    sample_rate = facts["sample_rate"]
    proto = _graph(model, round(_TRACED_S * sample_rate))
    onnx.helper.set_model_props(proto, written(facts))
    proto.producer_name, proto.producer_version = "birdlab", __version__
    with replacing(path) as temporary:
        temporary.write_bytes(proto.SerializeToString())
        difference = _difference(model, temporary, sample_rate)
        if not difference < TOLERANCE:
            raise BirdlabError(
                f"{path} isn't written: onnxruntime's probabilities differ by {difference:.2g} from torch's."
            )
    return Exported(path, facts, difference)


def _parts(run: Run, *, names: bool, trust: bool) -> tuple[nn.Module, Mapping[str, Any]]:
    """The module from audio to probabilities on the CPU, and what the file must say of it."""
    cfg = run.config(trust=trust)
    if names or config.names_species(cfg):
        opener = RunCallers if names else RunNamer
        namer = opener.open(run.directory, trust=trust)
        return namer.model.cpu(), species_facts(namer)
    network = RunNetwork.open(run.directory, trust=trust)
    return MaskOfAudio(network.model.cpu()).eval(), mask_facts(network)


def _about(run: Run, stated_licence: str | None, *, trust: bool) -> Mapping[str, Any]:
    """Where the network comes from."""
    provenance = run.read_json("provenance.json")
    source = str(run.config(trust=trust).data._target_)
    return {
        "birdlab": __version__,
        "run": run.directory.name,
        "commit": provenance.get("commit"),
        "dirty": provenance.get("dirty"),
        "data": source,
        "licence_of_training_data": licences.of_training_data(source, stated_licence),
    }


def _graph(model: nn.Module, samples: int) -> Any:
    audio = torch.zeros(samples)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), torch.inference_mode():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                model,
                (audio,),
                dynamo=True,
                verbose=False,
                opset_version=_OPSET,
                input_names=["audio"],
                output_names=["probabilities"],
                dynamic_shapes=({0: torch.export.Dim("samples", min=1)},),
            )
    except (torch.onnx.OnnxExporterError, torch._dynamo.exc.TorchDynamoException) as error:
        first = first_line(error)
        raise BirdlabError(f"{type(model).__name__} can't be expressed in ONNX: {first}") from error
    assert program is not None
    return program.model_proto


def _difference(model: nn.Module, path: Path, sample_rate: int) -> float:
    """The largest between torch and onnxruntime, on noise that fades in and out, of two lengths."""
    in_onnx, largest = run_file(path), 0.0
    for seconds in (0.4, 11.3):
        n = round(seconds * sample_rate)
        noise = np.random.default_rng(n).normal(0, 0.1, n) * np.sin(np.linspace(0, np.pi, n))
        audio = noise.astype(np.float32)
        with torch.inference_mode():
            in_torch = model(torch.from_numpy(audio)).numpy()
        largest = max(largest, float(np.abs(in_onnx(audio) - in_torch).max()))
    return largest


def _onnx() -> Any:
    try:
        import onnx
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise BirdlabError(f"birdlab.export needs {error.name}: pip install 'birdlab[onnx]'.") from error
    return onnx


app = typer.Typer(add_completion=False)


@app.command()
def main(
    run: Annotated[Path, typer.Argument(help="The run directory.")],
    output: Annotated[
        Path | None, typer.Option(help="The file to write. [RUN/model.onnx or names.onnx]")
    ] = None,
    names: Annotated[
        bool, typer.Option("--names", help="Of a run of both tasks: who is heard, not the marks.")
    ] = False,
    licence: Annotated[
        str | None, typer.Option(help="Of the training data, to be kept in the file, e.g. 'CC BY-NC 4.0'.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file that is there.")] = False,
    trust: Trust = False,
) -> None:
    """Write one ONNX file that takes audio of any length and needs nothing but onnxruntime."""
    with command():
        chosen = output or Run.open(run).directory / ("names.onnx" if names else "model.onnx")
        made = export(run, chosen, names=names, licence=licence, overwrite=overwrite, trust=trust)
        console = Console(soft_wrap=True, highlight=False)
        console.print(
            f"{escape(str(made.path))}: audio at {made.facts['sample_rate']} Hz to probabilities, "
            f"{made.path.stat().st_size / 1e6:.1f} MB; at most {made.difference:.1g} from torch's."
        )
        cfg = Run.open(run).config(trust=trust)
        if not names and config.marks_and_names(cfg) and cfg.task.module.callers_weight:
            console.print("It marks birds. With --names there is a file for birdlab.predict --species.")
        if made.facts["licence_of_training_data"] == licences.UNKNOWN:
            console.print("The licence of the training data isn't stated in it: see --licence.")


if __name__ == "__main__":
    app()
