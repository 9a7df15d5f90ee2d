package main

import (
	"context"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/reflect/protoreflect"

	cartv1 "marketplace/gen/go/marketplace/cart/v1"
	lomsv1 "marketplace/gen/go/marketplace/loms/v1"
	notifierv1 "marketplace/gen/go/marketplace/notifier/v1"
	productv1 "marketplace/gen/go/marketplace/product/v1"
)

// service is one that the gateway speaks for. All that is said of one besides
// its contract is here.
type service struct {
	name     string
	variable string // of the environment, for its address
	address  string // by default
	file     protoreflect.FileDescriptor
	register func(context.Context, *runtime.ServeMux, *grpc.ClientConn) error
}

var services = []service{
	{
		"cart", "GATEWAY_CART_ADDRESS", "127.0.0.1:50051",
		cartv1.File_marketplace_cart_v1_cart_proto, cartv1.RegisterCartServiceHandler,
	},
	{
		"loms", "GATEWAY_LOMS_ADDRESS", "127.0.0.1:50052",
		lomsv1.File_marketplace_loms_v1_loms_proto, lomsv1.RegisterLomsServiceHandler,
	},
	{
		"product", "GATEWAY_PRODUCT_ADDRESS", "127.0.0.1:50053",
		productv1.File_marketplace_product_v1_product_proto, productv1.RegisterProductServiceHandler,
	},
	{
		"notifier", "GATEWAY_NOTIFIER_ADDRESS", "127.0.0.1:50054",
		notifierv1.File_marketplace_notifier_v1_notifier_proto, notifierv1.RegisterNotifierServiceHandler,
	},
}

// contractOfServices is what all of them say together.
func contractOfServices() (*contract, error) {
	var files []protoreflect.FileDescriptor
	for _, s := range services {
		files = append(files, s.file)
	}
	return readContract(files...)
}
