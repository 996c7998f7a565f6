"""Model architectures: hyper-parameters from a file (`config`), and the forward pass of each."""
