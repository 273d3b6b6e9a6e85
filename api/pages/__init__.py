"""The pages at `/`: shells without data, whose scripts ask the same REST routes as everybody."""
