"""The programs: runs from configurations, a task's actions, the doctor."""
