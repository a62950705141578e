"""The ``birdlab`` command: the same verbs as ``python -m birdlab.VERB``."""

import runpy
import sys

VERBS = {
    "train": "train, test and write a run directory: birdlab train +experiment=focal_tversky",
    "evaluate": "score a finished run on any split or data set: birdlab evaluate RUN",
    "report": "compare runs: tables, figures and one HTML page: birdlab report DIR...",
    "dashboard": "lay out the W&B workspace and report of a sweep: birdlab dashboard --group NAME",
    "tune": "search good settings: birdlab tune +experiment=focal_tversky loss=bce,dice",
    "analyse": "draw where a finished run goes wrong: birdlab analyse RUN",
    "predict": "masks, clean sound and tables from recordings: birdlab predict RUN INPUT... --output DIR",
    "export": "one ONNX file that needs no torch: birdlab export RUN",
    "speed": "how many times faster than real time a network hears: birdlab speed RUN...",
    "probe": "a linear head on BirdNET's, timm's or a run's embeddings: birdlab probe birdnet data=birdclef",
    "preview": "draw what a network will be fed: birdlab preview +experiment=focal_tversky",
}


def main() -> None:
    """Hand the command line to the module of its verb."""
    verb = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if verb in {"-h", "--help"}:
        print("usage: birdlab VERB ...\n\n" + "\n".join(f"  {name:10}{text}" for name, text in VERBS.items()))
    elif verb not in VERBS:
        print(f"birdlab: there is no verb {verb!r}; there are {', '.join(VERBS)}.", file=sys.stderr)
        sys.exit(2)
    else:
        sys.argv = [f"birdlab {verb}", *sys.argv[2:]]
        runpy.run_module(f"birdlab.{verb}", run_name="__main__")
