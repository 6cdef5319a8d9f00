"""Generative models from autoregression to discrete text diffusion: one notation, exact tests.

Everywhere: input that makes no sense is refused at once by a ValueError that names the value, the range and the fix.
A docstring speaks of what it raises where that is less plain, and of what is not looked at.
"""

import os

# Torch's threads then sleep while they wait for each other: spinning, they made a network's call 5 to 70 times slower
# beside other work on two cores. Only a torch imported later heeds it, so `make lab` and environment.yml set it, too.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
