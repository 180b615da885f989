"""The HTTP API of the desk: what it takes and gives are types, of which OpenAPI is made."""
