"""A student's first weights in closed form: solved from its teacher by least squares on some thousand tokens."""
