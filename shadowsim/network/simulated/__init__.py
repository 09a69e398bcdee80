"""A network in SimPy above the compiled data plane."""

from shadowsim.network.simulated.network import SimulatedNetwork

__all__ = ["SimulatedNetwork"]
