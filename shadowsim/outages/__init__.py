"""Changes that are remembered, and ordinary ones, to what each PreCog variant made of them."""
