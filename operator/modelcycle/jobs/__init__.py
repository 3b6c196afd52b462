"""Jobs of the training image for whichever of our kinds owns them: their shape, what was seen of them, what they came to."""
