"""What a mistake leaves behind on a case: enough to recognise it in an answer, too little to rebuild the truth."""

from __future__ import annotations

import zlib
from typing import Any

import torch

from .asking import Seen, Z
from .cases import Rules, Sampled

__all__ = ["matches", "tells", "trace"]

SKETCHES = 3  # random projections of a part
ERROR = "error"


def trace(seen: Seen) -> dict[str, Any]:
    """Shapes and random projections of each part, means of sampled ones, or a digest of the error."""
    if seen.error:
        return {ERROR: zlib.crc32(seen.error.encode())}
    sketches = {name: _sketch(name, value) for name, value in seen.parts.items()}
    return sketches | {"notes": dict(seen.notes), "changed": seen.kind == "changed"}


def _sketch(name: str, value: Any) -> list:
    if isinstance(value, Sampled):
        return ["mean", list(value.mean.shape), [float(f"{x:.4g}") for x in value.mean.flatten().tolist()]]
    v = value.double()
    broken = 0 if v.isfinite().all() else zlib.crc32(v.isfinite().numpy().tobytes())
    generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
    directions = torch.randn(SKETCHES, v.numel(), generator=generator, dtype=torch.float64)
    flat = v.flatten().nan_to_num(0.0, 0.0, 0.0)
    size = float((directions.abs() @ flat.abs()).max()) if v.numel() else 0.0
    projected = [float(f"{x:.9g}") for x in (directions @ flat).tolist()]
    return ["sketch", list(v.shape), broken, projected, float(f"{size:.3g}"), str(value.dtype)[6:]]


def matches(left: dict[str, Any], seen: Seen, rules: Rules) -> bool:
    """Whether what came back is what the mistake leaves behind; NaN and infinity must stand in the same places."""
    now = trace(seen)
    if set(now) != set(left) or ERROR in left:
        return now == left
    for name, a in left.items():
        b = now[name]
        if name in ("notes", "changed"):
            if a != b:
                return False
        elif a[:2] != b[:2]:
            return False
        elif a[0] == "mean":
            if not _near_means(torch.tensor(a[2], dtype=torch.float64), seen.parts[name]):
                return False
        elif (
            a[2] != b[2]
            or a[5] != b[5]
            or any(abs(p - q) > 10 * rules.atol + 10 * rules.rtol * a[4] for p, q in zip(a[3], b[3], strict=True))
        ):
            return False
    return True


def tells(left: dict[str, Any]) -> bool:
    """Whether a trace holds finite numbers: an error, and a case on which all is NaN, are no evidence."""
    parts = [a for name, a in left.items() if name not in (ERROR, "notes", "changed")]
    return any(a[0] == "mean" or not a[2] or a[4] > 0 for a in parts)


def _near_means(mean: torch.Tensor, sampled: Sampled) -> bool:
    now, error = sampled.mean.flatten(), sampled.error.flatten()
    finite = mean.isfinite() & now.isfinite()
    near = ((mean - now).abs() <= 1.5 * Z * error + 2e-3 * mean.abs() + 1e-9) | ~finite
    return bool((mean.isfinite() == now.isfinite()).all()) and bool(near.all())
