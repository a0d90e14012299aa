"""A method of one's own: the shift fades early, and no region is shifted by more than `strength`."""

from samdiffsr.diffusion.registry import FORMULATIONS, Arm


def late_shift(schedule, strength=1.0):
    """m_t = strength (1 - abar_t)^2, u = tanh(e_sam), and the k_t that makes sampling exact."""
    import torch

    from samdiffsr.diffusion.process import Maps

    s = (1 - schedule.alpha_bar).sqrt()
    m = strength * s**4
    before = torch.cat([torch.zeros_like(m[:1]), m[:-1]])
    k = (m - schedule.alpha.sqrt() * before) * s / schedule.beta
    return Maps(m, k, mean=torch.tanh)


FORMULATIONS.register("late_shift", Arm(f"{__name__}:late_shift", clip="wide"))
