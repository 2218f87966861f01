"""The Store on Redis, for servers that run as several processes or on several machines."""
