"""Pictures from a picture and its depth map, with a U-Net that sees the map: SD 2.x depth."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from runtimes.bundle import Bundle
from runtimes.depth_map import to_depth_channel
from runtimes.read_inputs import ReadInputs
from runtimes.settings import Settings
from runtimes.tasks.from_picture import check_number, spread
from runtimes.tasks.image_to_image import ImageToImage
from runtimes.tasks.task import Call, Start


class DepthToImage:
    """As diffusers' StableDiffusionDepth2ImgPipeline with a depth map that is given."""

    def check(self, bundle: Bundle, settings: Settings, inputs: ReadInputs) -> None:
        """See `Task.check`."""
        ImageToImage().check(bundle, settings, inputs)
        pictures, maps = inputs.image, inputs.depth_map
        check_number("depth_map", len(maps), len(pictures), "images")

    def start(self, call: Call) -> Start:
        """See `Task.start`: one more channel, the depth of each latent cell in [-1, 1]."""
        start = ImageToImage().start(call)
        height, width = start.x.shape[2:]
        maps = [to_depth_channel(each, height, width) for each in call.inputs.depth_map]
        return replace(start, concat=spread(np.stack(maps), call.settings.count))
