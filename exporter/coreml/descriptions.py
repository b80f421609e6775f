"""What packages say of themselves, for whoever opens one in Xcode."""

from __future__ import annotations

from exporter.coreml.package import Description

MODELS = {
    "text_encoder": "CLIP text encoder of Stable Diffusion",
    "text_encoder_2": "Second CLIP text encoder of Stable Diffusion XL",
    "unet": "U-Net of Stable Diffusion",
    "unet_refiner": "U-Net of Stable Diffusion XL's refiner",
    "vae_decoder": "Decoder of Stable Diffusion's autoencoder",
    "vae_encoder": "Encoder of Stable Diffusion's autoencoder",
}
"""By component."""

FEATURES = {
    "input_ids": "Ids of a text's tokens.",
    "last_hidden_state": "The tokens' states behind the last layer.",
    "hidden_embeds": "The tokens' states before the last layer.",
    "pooled_outputs": "One state for the whole text.",
    "sample": "Noisy latents, scaled as the sampler asks.",
    "timestep": "The timestep, once for each sample.",
    "encoder_hidden_states": "Texts' states: channels along the second axis, tokens the last.",
    "text_embeds": "The second text encoder's pooled state.",
    "time_ids": "Original size, crop and target size in pixels, or a score in the last place.",
    "noise_pred": "What the U-Net predicts of the noise in the latents.",
    "z": "Latents, divided by the scaling factor.",
    "image": "The picture: red, green and blue from -1 to 1.",
    "x": "A picture: red, green and blue from -1 to 1.",
    "latent": "Mean and log variance of the latents.",
}
"""By input or output; what one part of a U-Net hands to the other is not among them."""


def describe(component: str, *, part: int = 0, parts: int = 1) -> Description:
    """The texts of a component's package.

    Args:
        component: whose it is.
        part: which of its packages, from 0.
        parts: how many it has.
    """
    which = "" if parts == 1 else f", part {part + 1} of {parts}"
    return Description(f"{MODELS[component]}{which}.", FEATURES)
