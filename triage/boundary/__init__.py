"""The control boundary: what keeps log text and questions inside."""
