"""Tables, figures and the report, from the scores alone."""
