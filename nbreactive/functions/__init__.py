"""What modules of server functions import: decorators, schema, references. Metadata only; running is elsewhere."""
