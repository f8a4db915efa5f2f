"""JavaRosa beside us: the same forms and answers through both engines."""
