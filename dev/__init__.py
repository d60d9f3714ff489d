"""What a developer runs by hand: both services at once, tokens, and the demonstration. No part of the product."""
