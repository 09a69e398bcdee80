"""A network in SimPy above the compiled data plane."""

from shadowsim.network.simulated.network import SimulatedNetwork
from shadowsim.network.simulated.setting import Setting, setting_of

__all__ = ["Setting", "SimulatedNetwork", "setting_of"]
