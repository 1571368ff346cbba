"""A local page that fills and samples live, of any kind of data, by the standard library alone."""
