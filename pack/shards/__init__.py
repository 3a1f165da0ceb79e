"""The data format: records in WebDataset tars with an index each, local or in an object store.

Needs neither PyAV nor torch.
"""
