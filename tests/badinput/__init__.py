"""Bad input over real sockets: each ends in time, in a typed error that says what is wrong, with nothing lost."""
