"""Parts of make sweep: trainings that differ in a few settings, and the comparison of their networks."""
