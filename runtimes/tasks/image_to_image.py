"""Pictures from pictures: C. Meng et al., "SDEdit", 2022."""

from __future__ import annotations

from runtimes.bundle import Bundle
from runtimes.read_inputs import ReadInputs
from runtimes.settings import Settings
from runtimes.tasks.from_picture import begin_of, check_pictures, noised, samples, spread
from runtimes.tasks.start_noise import check_noise, start_noise
from runtimes.tasks.task import Call, Start
from runtimes.vae_codec import encode


class ImageToImage:
    """As diffusers' StableDiffusionImg2ImgPipeline.

    Noise is drawn as there: first what the encoder's distribution takes, one draw for all pictures
    that were given, then the noise that is added.
    """

    def check(self, bundle: Bundle, settings: Settings, inputs: ReadInputs) -> None:
        """See `Task.check`."""
        check_noise(bundle, settings, inputs)
        check_pictures(bundle, settings, inputs.image)

    def start(self, call: Call) -> Start:
        """See `Task.start`."""
        settings = call.settings
        clean = encode(call, samples(call.inputs.image, settings))
        noise = start_noise(call)
        begin = begin_of(call)
        return Start(noised(spread(clean, settings.count), noise, call.levels[begin]), begin=begin)
