"""Card payments by Stripe."""
