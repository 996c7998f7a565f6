"""Independent oracles for the engine: a NumPy forward pass, and logits recorded from transformers."""
