"""Signals that reach a process twice for once that they are sent."""

ONE_SIGNAL = 1.0  # seconds in which launchers may pass the same one on a second time; `timeout` sends it twice at once
