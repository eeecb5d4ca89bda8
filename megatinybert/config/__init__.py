"""Options: recipe, command line and DeepSpeed file to a checked configuration."""
