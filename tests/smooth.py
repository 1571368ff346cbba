"""Networks of random weights that change little between neighbouring times, as trained ones do: of
others, an integral over t is not resolved by any number of nodes that a test can pay."""

import math

import torch


@torch.no_grad()
def smooth_in_t(network):
    """Damp what a transformer makes of the time by the squares of its frequencies, 1 to 1,000."""
    if network.time is not None:
        weight = network.time[0].weight
        frequency = torch.linspace(0, math.log(1000), weight.shape[1] // 2).exp()
        weight /= frequency.square().repeat(2).to(weight)
    return network
