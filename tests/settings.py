"""Settings for tests: every port a free one."""

from services.cart.__main__ import CartSettings
from services.chassis.settings import Address, ServiceSettings
from services.loms.__main__ import LomsSettings
from services.notifier.__main__ import NotifierSettings
from services.product.__main__ import ProductSettings

FREE = "127.0.0.1:0"

__all__ = ["FREE", "AnySettings", "CartSettings", "LomsSettings", "NotifierSettings", "ProductSettings"]


class AnySettings(ServiceSettings):
    """The settings of a service that exists in tests only."""

    service = "tested"

    listen: Address = FREE
    side_listen: Address = FREE
