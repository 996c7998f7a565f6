"""The one error of everything that reads model files, alone here so that the API process, which reads only the
tokenizer, never imports the op library."""


class ModelFileError(ValueError):
    """A model file that cannot be used; the message says which file, what is wrong and where."""
