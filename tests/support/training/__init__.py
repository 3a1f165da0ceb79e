"""Small trainings and networks for tests."""
