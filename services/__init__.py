"""The marketplace: four services on one chassis."""
