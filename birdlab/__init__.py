"""birdlab: experiments with bird-sound spectrograms, from noisy recordings to masks and species."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from birdlab.prediction.library import load as load

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    # Importing birdlab stays light: what `load` needs is imported when it is asked for.
    if name == "load":
        from birdlab.prediction.library import load

        return load
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
