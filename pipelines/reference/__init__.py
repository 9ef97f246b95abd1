"""The server's side: the reference server's API requests, and how it generates from them."""
