"""Parts of tools/install_iw3.py: entries in the files of iw3, and a trial of the network there."""
