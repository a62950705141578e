"""What is known of the licence of the data that a network was trained on."""

UNKNOWN = "not stated"
_NOBODYS = "none: synthetic sounds, made by birdlab"


def of_training_data(target: str, stated: str | None = None) -> str:
    """The licence, in words, as it travels with what is made of a run.

    Args:
        target: class of the data set, as the config names it.
        stated: by the user, who knows what the folders hold.
    """
    return stated or (_NOBODYS if target.startswith("birdlab.data.synthetic") else UNKNOWN)
