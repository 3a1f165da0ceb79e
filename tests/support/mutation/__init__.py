"""Mutation testing: small changes of a module, each of which its tests must notice."""
