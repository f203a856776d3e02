"""The solver: the best choice in a graph of costs within limits, with its proof; knows nothing of shardings."""
