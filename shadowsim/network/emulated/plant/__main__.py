"""Messages on an inherited socket, whose number is the only argument, to packets that move."""

from __future__ import annotations

import sys

from shadowsim.network.emulated.plant.process import serve

if __name__ == "__main__":
    serve(int(sys.argv[1]))
