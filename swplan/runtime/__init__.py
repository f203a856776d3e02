"""The runtime: tracing, meshes, and running device programs with JAX."""
