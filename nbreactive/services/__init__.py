"""What a deployment needs besides its data: deploying functions, watching their folder."""
