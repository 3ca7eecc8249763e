"""What every layer shares: types, the column registry, surveys, names, random streams, errors."""
