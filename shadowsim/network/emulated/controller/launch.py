"""`launch.py ryu|os-ken LISTEN_FD RUNDIR`: an open listening socket to a controller behind it.

Serves `app.py` under the named library, on that socket and on RUNDIR/ctl.sock, nowhere else; says
what goes wrong in RUNDIR/controller.log; ends when its standard input does.
"""

from __future__ import annotations

import importlib
import logging
import os
import sys
from typing import Any


def main(kind: str, listen_fd: int, rundir: str) -> None:
    os.chdir(rundir)
    logging.basicConfig(
        filename="controller.log", level=logging.WARNING, format="%(asctime)s %(message)s"
    )
    library = {"ryu": "ryu", "os-ken": "os_ken"}[kind]
    os.environ["OSKEN_HUB_TYPE"] = "eventlet"  # its default is a thread per switch
    import eventlet.wsgi  # type: ignore

    eventlet.wsgi.ALREADY_HANDLED = b""  # Ryu 4.34 looks for it, newer eventlets lack it
    eventlet.monkey_patch()
    _end_with_standard_input()
    app_manager = importlib.import_module(f"{library}.base.app_manager")
    _listen_on(importlib.import_module(f"{library}.controller.controller"), listen_fd)
    manager = app_manager.AppManager.get_instance()
    manager.load_apps(["app", f"{library}.controller.ofp_handler"])
    services = manager.instantiate_apps(**manager.create_contexts())
    importlib.import_module(f"{library}.lib.hub").joinall(services)


def _listen_on(controller: Any, listen_fd: int) -> None:
    """Let the OpenFlow server of the library serve the open socket, and no other."""
    import eventlet.green.socket  # type: ignore

    class OpenSocket(controller.StreamServer):  # type: ignore[misc]
        def __init__(self, _address: Any, handle: Any, **_: Any) -> None:
            self.server, self.handle = eventlet.green.socket.socket(fileno=listen_fd), handle

    controller.StreamServer = OpenSocket
    options = ["--ofp-tcp-listen-port", "6653"]  # given at all, the old port 6633 is left alone
    controller.CONF(args=options, project="shadowsim", default_config_files=[])


def _end_with_standard_input() -> None:
    """End this process when nobody holds its standard input open, whatever it is doing."""
    from eventlet.patcher import original  # type: ignore

    def wait() -> None:
        while os_read(0, 1 << 16):
            pass
        os._exit(0)

    os_read = original("os").read
    original("threading").Thread(target=wait, daemon=True).start()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3])
