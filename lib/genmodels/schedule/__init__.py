"""The path from data to noise, x_t = alpha(t) x_0 + sigma(t) eps, and the times at which it is visited."""

from genmodels.schedule.path import (
    Point,
    Schedule,
    cosine,
    cosine_betas,
    edm,
    from_betas,
    linear_betas,
    linear_vp,
    noise_like,
    rectified,
    ve,
)
from genmodels.schedule.times import (
    karras_grid,
    log_snr_grid,
    logit_normal_times,
    lognormal_times,
    uniform_grid,
    uniform_times,
)

__all__ = [
    "Point",
    "Schedule",
    "cosine",
    "cosine_betas",
    "edm",
    "from_betas",
    "karras_grid",
    "linear_betas",
    "linear_vp",
    "log_snr_grid",
    "logit_normal_times",
    "lognormal_times",
    "noise_like",
    "rectified",
    "uniform_grid",
    "uniform_times",
    "ve",
]
