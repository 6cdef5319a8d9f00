"""Generative models from autoregression to discrete text diffusion: one notation, exact tests.

Everywhere: input that makes no sense is refused at once by a ValueError that names the value, the range and the fix.
A docstring speaks of what it raises where that is less plain, and of what is not looked at.
"""
