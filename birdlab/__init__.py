"""birdlab: experiments with bird-sound spectrograms, from noisy recordings to masks and species."""

__version__ = "0.1.0"
