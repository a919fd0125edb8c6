"""Real servers and processes for tests: started here, ended here."""
