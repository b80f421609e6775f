"""Pictures edited as a text says, with a U-Net that sees the picture beside the latents.

T. Brooks et al., "InstructPix2Pix: Learning to Follow Image Editing Instructions", 2023.
"""

from __future__ import annotations

import numpy as np

from runtimes.bundle import Bundle
from runtimes.errors import BundleError
from runtimes.read_inputs import ReadInputs
from runtimes.settings import Settings
from runtimes.tasks.from_picture import check_pictures, samples, spread
from runtimes.tasks.start_noise import check_noise, start_noise
from runtimes.tasks.task import Call, Start
from runtimes.vae_codec import encode_mode


class InstructPix2Pix:
    """As diffusers' InstructPix2Pix pipelines of Stable Diffusion and SDXL.

    The U-Net sees the mode of the encoder's distribution, of which nothing is drawn, as the VAE
    gives it; CosXL's edit model sees it in the latents' scale.
    """

    def check(self, bundle: Bundle, settings: Settings, inputs: ReadInputs) -> None:
        """See `Task.check`: the U-Net takes a picture's latents beside its own."""
        check_noise(bundle, settings, inputs)
        plain = bundle.manifest.latents.channels
        channels = {p.role: p.shape for p in bundle.graph("unet").inputs}["sample"][1]
        if channels != 2 * plain:
            raise BundleError(
                f"{bundle.path}: the U-Net takes {channels} channels; {settings.task} takes "
                f"{2 * plain}."
            )
        check_pictures(bundle, settings, inputs.image)

    def start(self, call: Call) -> Start:
        """See `Task.start`: noise, and the picture in further channels."""
        found = encode_mode(call, samples(call.inputs.image, call.settings))
        conditioning = call.bundle.manifest.conditioning
        if conditioning is not None and conditioning.is_cosxl_edit:
            found = found * np.float32(call.bundle.manifest.latents.scaling_factor)
        x = start_noise(call) * np.float32(call.sampler.init_noise_sigma(call.levels))
        return Start(x, concat=spread(found, call.settings.count))
