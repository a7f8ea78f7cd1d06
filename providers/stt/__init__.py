"""Speech to text: one file per vendor, and the embedded recogniser."""
