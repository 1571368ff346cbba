"""Tables: a cell is a token, a column has an alphabet of its own."""
