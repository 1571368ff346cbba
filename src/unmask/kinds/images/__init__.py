"""Pictures: a value of a channel of a pixel is a token."""
