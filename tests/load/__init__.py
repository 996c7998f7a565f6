"""Many clients at once on a real server over loopback: a tiny random model, real kernels, bounded in requests and time.

    make soak                                   # 20,000 requests
    python -m tests.load.soak 1000 --clients 200
"""
