"""Model files in, `ModelWeights` out: read (`gguf`), lay out for the kernels (`repack`), as plain data (`base`)."""
