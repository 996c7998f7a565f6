"""Bytes that nobody meant, given to everything that reads what strangers write.

    python -m tests.fuzz                        # ten CPU-minutes over all targets
    python -m tests.fuzz --minutes 2 gguf http  # two of them over these
    python -m tests.fuzz --input some.gguf gguf # one file, with the traceback

A target (`targets/`) is a function of bytes that returns whatever the product answers, an error among its documented
kinds included. Everything else that it raises is a finding, and so is more than `limits.SECONDS` of processor time
for one input, or more memory than the target may take. Where atheris is installed (`pip install -e .[fuzz]`) inputs
are led by the lines that they reach; hypothesis makes them where it is not, and in the tests. `corpus/` keeps every
input that was ever a finding, under a name that says what it was.
"""
