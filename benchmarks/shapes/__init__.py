"""The shapes model: a small trained latent diffusion model, its training and its score."""
