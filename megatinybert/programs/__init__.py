"""The programs: a run assembled from its configuration, a task's actions, the doctor."""
