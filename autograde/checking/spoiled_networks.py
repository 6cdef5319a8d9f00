"""An answer that spoils the networks a test lends it, and then answers rightly: a test must not agree with it.

A test that computes the truth after the call, from the network that it lent, compares one wrong answer with another.
The judge cannot see that, for training a lent network is what some exercises ask for.
"""

from __future__ import annotations

SEEN = "a network was lent to this answer"

_WRAPPER = """

def _spoiler(answer, bare=None):
    import functools
    import torch

    def modules(value):
        if isinstance(value, torch.nn.Module):
            yield value
        elif isinstance(value, (list, tuple)):
            for part in value:
                yield from modules(part)
        elif isinstance(value, dict):
            yield from modules(list(value.values()))

    @functools.wraps(answer)
    def spoiling(*args, **options):
        with torch.no_grad():
            for module in modules([*(args if bare else args[1:]), options]):
                {act}
        return answer(*args, **options)

    return spoiling


if isinstance({name}, type):
    for _key, _value in list(vars({name}).items()):
        if callable(_value) and not isinstance(_value, type) and (_key == "__init__" or not _key.startswith("_")):
            setattr({name}, _key, _spoiler(_value))
else:
    {name} = _spoiler({name}, bare=True)
"""
_ZERO = "[p.zero_() for p in [*module.parameters(), *module.buffers()]]"


def probe(name: str, reference: str) -> str:
    """The reference, which raises an error that says ``SEEN`` when it is lent a network."""
    return reference + _WRAPPER.format(name=name, act=f"raise RuntimeError({SEEN!r})")


def vandal(name: str, reference: str) -> str:
    """The reference, which first sets to zero every network that it is lent."""
    return reference + _WRAPPER.format(name=name, act=_ZERO)
