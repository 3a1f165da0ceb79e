"""Installs a network in iw3: entries in the files of iw3, and a trial of the network there."""
