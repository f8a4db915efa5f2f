"""Everything the server keeps: the engine, and the tables of the intake and of the desk."""
