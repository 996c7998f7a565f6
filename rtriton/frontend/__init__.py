"""From the text of a kernel to tile IR: `parse` makes a tree, `lower` gives it meaning."""
