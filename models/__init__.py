"""What is learned: models trained on data, never database tables."""
