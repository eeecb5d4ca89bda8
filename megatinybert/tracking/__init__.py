"""What a person watches: scalars, charts, attention maps."""
