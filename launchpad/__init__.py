"""How it is queued, stored and kept alive: FireWorks, MongoDB, workers; and the command line."""
