"""birdlab: experiments with bird-sound spectrograms, from noisy recordings to masks and species."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from birdlab.prediction.library import load as load
    from birdlab.prediction.library import load_species as load_species

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    # Importing birdlab stays light: what these need is imported when they are asked for.
    if name in {"load", "load_species"}:
        from birdlab.prediction import library

        return getattr(library, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
