"""`--on ray`: one run on many GPUs and machines. Ray starts the workers; nothing else here is Ray's."""
