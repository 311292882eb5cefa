"""The evaluation for people: an HTML page, a table for terminals, figures. Every number comes from the evaluation."""
