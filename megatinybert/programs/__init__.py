"""The programs: general distillation, a task's actions, the doctor."""
