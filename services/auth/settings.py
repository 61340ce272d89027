"""Settings of the auth service."""

from pydantic import Field

from ocppcore.settings import BaseServiceSettings, service_config


class Settings(BaseServiceSettings):
    """Beside those that all services share."""

    model_config = service_config("auth")

    master_pass_group: str = Field(
        "", max_length=36, description="groupIdToken whose members may stop transactions and start none (C16)"
    )
