"""What a user runs to get figures: synthetic models, the shapes model and its score."""
