"""`--repeat`: whether a request gives the same video when it is drawn again."""
