"""Image filters, and the numba kernels that compute them on a CPU."""
