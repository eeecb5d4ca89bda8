"""The programs behind the doors: a run put together from its configuration, the actions of a task, the doctor."""
