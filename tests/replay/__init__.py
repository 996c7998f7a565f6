"""What the compiler makes of every kernel, written down, and compared between two commits: python -m tests.replay."""
