"""What an operator runs beside the services: live frames, parked records, rebuild and recover."""
