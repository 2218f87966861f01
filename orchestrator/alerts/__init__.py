"""Telling operators what they have to know: logged, counted, and sent to a signed webhook."""
