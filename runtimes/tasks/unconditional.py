"""Pictures from noise alone, of what a model was trained on.

R. Rombach et al., "High-Resolution Image Synthesis with Latent Diffusion Models", 2022, section
4.1.
"""

from __future__ import annotations

from runtimes.bundle import Bundle
from runtimes.latents import check_multiples
from runtimes.read_inputs import ReadInputs
from runtimes.settings import Settings
from runtimes.tasks.start_noise import check_noise
from runtimes.tasks.task import Call, Start
from runtimes.tasks.text_to_image import TextToImage


class Unconditional:
    """As diffusers' LDMPipeline, at any size."""

    def check(self, bundle: Bundle, settings: Settings, inputs: ReadInputs) -> None:
        """See `Task.check`."""
        check_multiples(bundle, settings.height, settings.width)
        check_noise(bundle, settings, inputs)

    def start(self, call: Call) -> Start:
        """See `Task.start`: from the noise that a text would begin with."""
        return TextToImage().start(call)
