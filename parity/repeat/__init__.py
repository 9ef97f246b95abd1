"""`--repeat`: generates a request several times and says whether it gives the same video each time."""
