"""What schemathesis.toml loads. Generated from api/ by codegen.openapi: do not edit."""

import marketplace.cart.v1.cart_pb2
import marketplace.loms.v1.loms_pb2
import marketplace.notifier.v1.notifier_pb2
import marketplace.product.v1.product_pb2
from tests.fuzz.hooks import Operation, register

register(
    operations=[
        Operation("ItemAdd", "POST", "/user/{user_id}/cart/{sku}", marketplace.cart.v1.cart_pb2.ItemAddRequest, has_body=True, access="own_user", user_field="user_id"),
        Operation("ItemDelete", "DELETE", "/user/{user_id}/cart/{sku}", marketplace.cart.v1.cart_pb2.ItemDeleteRequest, has_body=False, access="own_user", user_field="user_id"),
        Operation("List", "GET", "/user/{user_id}/cart", marketplace.cart.v1.cart_pb2.ListRequest, has_body=False, access="own_user", user_field="user_id"),
        Operation("Clear", "DELETE", "/user/{user_id}/cart", marketplace.cart.v1.cart_pb2.ClearRequest, has_body=False, access="own_user", user_field="user_id"),
        Operation("Checkout", "POST", "/cart/checkout", marketplace.cart.v1.cart_pb2.CheckoutRequest, has_body=True, access="own_user", user_field="user_id"),
        Operation("Checkout_2", "POST", "/checkout/{user_id}", marketplace.cart.v1.cart_pb2.CheckoutRequest, has_body=False, access="own_user", user_field="user_id"),
        Operation("OrderCreate", "POST", "/order/create", marketplace.loms.v1.loms_pb2.OrderCreateRequest, has_body=True, access="own_user", user_field="user_id"),
        Operation("OrderInfo", "GET", "/order/info", marketplace.loms.v1.loms_pb2.OrderInfoRequest, has_body=False, access="owner"),
        Operation("OrderPay", "POST", "/order/pay", marketplace.loms.v1.loms_pb2.OrderPayRequest, has_body=True, access="owner"),
        Operation("OrderCancel", "POST", "/order/cancel", marketplace.loms.v1.loms_pb2.OrderCancelRequest, has_body=True, access="owner"),
        Operation("StocksInfo", "GET", "/stock/info", marketplace.loms.v1.loms_pb2.StocksInfoRequest, has_body=False, access="public"),
        Operation("ListNotifications", "GET", "/order/{order_id}/notifications", marketplace.notifier.v1.notifier_pb2.ListNotificationsRequest, has_body=False, access="owner"),
        Operation("GetProduct", "GET", "/product/{sku}", marketplace.product.v1.product_pb2.GetProductRequest, has_body=False, access="token"),
        Operation("ListSkus", "GET", "/product", marketplace.product.v1.product_pb2.ListSkusRequest, has_body=False, access="token"),
    ],
    inexpressible={
    },
)
