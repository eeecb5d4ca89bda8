"""Objectives by name; a new one is a file and a line below."""

# Where each class is: an import path, because the command line needs the names before it can wait for torch.
OBJECTIVES = {
    "tinybert": "megatinybert.objectives.tinybert.TinyBert",
    "mlm": "megatinybert.objectives.mlm.Mlm",
}
