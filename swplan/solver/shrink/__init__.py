"""Exact reductions of a graph of costs, compiled: the kernels of reduction.py."""
