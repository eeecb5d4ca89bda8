"""Every option, its type, limits and default; recipe, command line and DeepSpeed file to a checked configuration."""
