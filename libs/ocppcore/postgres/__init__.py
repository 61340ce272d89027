"""PostgreSQL as log and as the services' store: adapters over asyncpg, with their SQL beside them."""
