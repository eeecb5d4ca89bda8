"""What a person watches: scalars, charts, attention maps, curves, and how well the hardware is used."""
