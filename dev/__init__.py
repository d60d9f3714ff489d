"""Tools that a developer runs by hand; the product does not import them."""
