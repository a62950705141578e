"""Where a backbone comes from, to build it again."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from omegaconf import DictConfig, OmegaConf

from birdlab import config
from birdlab.build import build_backbone
from birdlab.probing.backbone import Backbone
from birdlab.probing.runs import of_run


@dataclass(frozen=True)
class Origin:
    """Settings or a run directory.

    Attributes:
        settings: as in conf/backbone; None of a run.
        run: path of the run directory; None of settings.
    """

    settings: Mapping[str, Any] | None = None
    run: str | None = None

    @classmethod
    def of_settings(cls, cfg: DictConfig) -> Self:
        """Those of a composed config; files keep their place wherever one asks from."""
        settings: dict[str, Any] = OmegaConf.to_container(cfg.backbone, resolve=True)  # type: ignore[assignment]
        weights = settings.get("weights")
        if weights not in (None, "imagenet"):
            settings["weights"] = str(Path(weights).expanduser().resolve())
        return cls(settings=settings)

    @classmethod
    def of_dict(cls, content: Mapping[str, Any]) -> Self:
        """What ``dataclasses.asdict`` made of one.

        Raises:
            TypeError: if it didn't.
            ValueError: if it is neither of the two, or both.
        """
        origin = cls(**content)
        kinds = [isinstance(origin.settings, dict), isinstance(origin.run, str)]
        if sum(kinds) != 1 or None not in (origin.settings, origin.run):
            raise ValueError("it says of no backbone where it comes from")
        return origin

    @classmethod
    def of_run(cls, directory: Path) -> Self:
        """Of a run directory."""
        return cls(run=str(directory.resolve()))

    def open(self, *, trust: bool = False) -> Backbone:
        """The backbone.

        Args:
            trust: build what birdlab doesn't ship, too.

        Raises:
            BirdlabError: if it can't be built.
        """
        if self.run is not None:
            return of_run(Path(self.run), trust=trust)
        cfg = OmegaConf.create({"backbone": dict(self.settings or {})})
        if not trust:
            config.check_trusted(cfg, "backbone")
        return build_backbone(cfg)
