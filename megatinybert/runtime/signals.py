"""Signals that ask a run to stop."""

import signal

# Of a scheduler, its early warning, Ctrl-C and a closed terminal.
STOP_SIGNALS = frozenset({signal.SIGTERM, signal.SIGUSR1, signal.SIGINT, signal.SIGHUP})
ONE_SIGNAL = 1.0  # seconds in which launchers may pass the same one on a second time; `timeout` sends it twice at once
