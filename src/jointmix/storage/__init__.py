"""Files, folders and formats: a tree is written whole or not at all, and read with its checksum."""
