"""NotifierService in the words of the contract: messages in, messages out."""

from marketplace.notifier.v1 import notifier_pb2 as pb
from marketplace.notifier.v1 import notifier_pb2_grpc as pb_grpc

from services.chassis.call import current_owner
from services.chassis.clock import timestamp
from services.chassis.server import Context
from services.notifier.usecases import Notifications


class NotifierServicer(pb_grpc.NotifierServiceServicer):
    def __init__(self, notifications: Notifications) -> None:
        self._notifications = notifications

    async def ListNotifications(
        self, request: pb.ListNotificationsRequest, context: Context
    ) -> pb.ListNotificationsResponse:
        notifications = await self._notifications.of_order(request.order_id, current_owner())
        return pb.ListNotificationsResponse(
            notifications=[pb.Notification(status=one.status, moment=timestamp(one.moment)) for one in notifications]
        )
