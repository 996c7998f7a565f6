"""The language model engine: continuous batching over a paged KV cache, on the kernels in `ops`.

`engine.llm.LLM` is the offline door; the server reaches the same engine through `engine.core_client`.
"""
