"""How the stages of a film run the other programs of this repository."""
