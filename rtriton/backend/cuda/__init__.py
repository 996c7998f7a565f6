"""Running kernels on an NVIDIA GPU through the driver API (cuda.bindings)."""
