"""What the networks of `+sweep=architectures` and `+sweep=ablations` compute: ``computation.csv``.

    python experiments/architectures/computation.py

GFLOP of one image, forward, two for each multiplication and addition of convolutions and matrix products; a
training step takes about three times that. At 128 x 128, the ResNet-34 decoder also at its study's 512 x 512.
"""

from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from birdlab.build import build_task
from birdlab.config import compose
from birdlab.files import write_csv

SIDES = dict.fromkeys(
    ("resunet", "unet", "segnet", "deeplabv3plus", "unetplusplus", "manet", "fpn", "segformer"), (128,)
) | {"mobilenet_unet": (128,), "efficientnet_unet": (128,), "resnet34_decoder": (128, 512)}


def counted(network: str, side: int) -> dict[str, str | int]:
    """One row: what one image costs."""
    task = build_task(compose([f"model={network}", f"data.image_size=[{side},{side}]"])).eval()
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        task.logits(torch.zeros(1, side, side, dtype=torch.uint8))
    return {
        "network": network,
        "side": side,
        "parameters": sum(weight.numel() for weight in task.net.parameters()),
        "gflop": f"{counter.get_total_flops() / 1e9:.2f}",
    }


if __name__ == "__main__":
    rows = [counted(network, side) for network, sides in SIDES.items() for side in sides]
    write_csv(Path(__file__).with_suffix(".csv"), rows)
    for row in rows:
        print(*row.values())
