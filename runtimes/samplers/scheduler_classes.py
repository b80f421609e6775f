"""Scheduler classes of diffusers that no sampler here follows, and what is nearest to each."""

from __future__ import annotations

SAME_AS: dict[str, str] = {
    "DDIMParallelScheduler": "DDIMScheduler",
    "DDPMParallelScheduler": "DDPMScheduler",
}
"""Classes whose trajectory is another's."""

OTHER_LAWS: dict[str, str] = {
    # Noise of other laws: EDM's levels and preconditioning, cosine and score SDEs.
    "CosineDPMSolverMultistepScheduler": "dpmpp-2m-sde",
    "EDMDPMSolverMultistepScheduler": "dpmpp-2m",
    "KarrasVeScheduler": "euler",
    "ScoreSdeVeScheduler": "euler-a",
    "ScoreSdeVpScheduler": "ddpm",
    "UnCLIPScheduler": "ddpm",
    "DDPMWuerstchenScheduler": "ddpm",
    "CogVideoXDDIMScheduler": "ddim",
    "CogVideoXDPMScheduler": "dpmpp-2m",
    # Consistency models.
    "CMStochasticIterativeScheduler": "lcm",
    "ConsistencyDecoderScheduler": "lcm",
    "SCMScheduler": "lcm",
    # Flow matching.
    "FlowMapEulerDiscreteScheduler": "euler",
    "FlowMatchEulerDiscreteScheduler": "euler",
    "FlowMatchHeunDiscreteScheduler": "heun",
    "FlowMatchLCMScheduler": "lcm",
    "HeliosDMDScheduler": "euler",
    "HeliosScheduler": "euler",
    "LTXEulerAncestralRFScheduler": "euler-a",
    "MiniMaxH3Scheduler": "euler",
    "PiflowScheduler": "euler",
    "RFD4ProteinaScheduler": "euler",
    # Discrete tokens.
    "AmusedScheduler": "ddim",
    "BlockRefinementScheduler": "ddim",
    "DiscreteDDIMScheduler": "ddim",
    "EntropyBoundScheduler": "ddim",
    "VQDiffusionScheduler": "ddim",
}
"""Class whose networks were trained on noise of another law than alphas_cumprod's → the sampler
that solves likewise. No sampler here draws a picture with such a network."""

NEAREST: dict[str, str] = {
    # Of latent diffusion, but run backwards, or only for parts of a picture.
    "DDIMInverseScheduler": "ddim",
    "DPMSolverMultistepInverseScheduler": "dpmpp-2m",
    "RePaintScheduler": "ddpm",
    # Solvers of the same equations.
    "IPNDMScheduler": "pndm",
    "SASolverScheduler": "unipc",
    **OTHER_LAWS,
}
"""Class that no sampler follows → the nearest sampler, by what it solves."""
