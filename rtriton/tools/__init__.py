"""Host-side helpers of kernels, under Triton's names."""
