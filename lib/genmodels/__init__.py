"""Generative models from autoregression to discrete text diffusion: one notation, exact tests."""
