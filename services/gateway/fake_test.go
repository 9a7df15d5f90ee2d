package main

import (
	"context"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	healthserver "google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	cartv1 "marketplace/gen/go/marketplace/cart/v1"
	lomsv1 "marketplace/gen/go/marketplace/loms/v1"
	notifierv1 "marketplace/gen/go/marketplace/notifier/v1"
	productv1 "marketplace/gen/go/marketplace/product/v1"
)

// upstream plays all four services and remembers the last call.
type upstream struct {
	cartv1.UnimplementedCartServiceServer
	lomsv1.UnimplementedLomsServiceServer
	productv1.UnimplementedProductServiceServer
	notifierv1.UnimplementedNotifierServiceServer
	health  *healthserver.Server
	server  *grpc.Server
	address string

	mu      sync.Mutex
	err     error                                      // of the next calls
	do      func(context.Context, proto.Message) error // before they answer
	calls   int
	request proto.Message
	header  metadata.MD
	left    time.Duration // of the deadline
}

func (u *upstream) ItemAdd(context.Context, *cartv1.ItemAddRequest) (*cartv1.ItemAddResponse, error) {
	return &cartv1.ItemAddResponse{}, nil
}

func (u *upstream) Clear(context.Context, *cartv1.ClearRequest) (*cartv1.ClearResponse, error) {
	return &cartv1.ClearResponse{}, nil
}

func (u *upstream) Checkout(context.Context, *cartv1.CheckoutRequest) (*cartv1.CheckoutResponse, error) {
	return &cartv1.CheckoutResponse{OrderId: 9223372036854775807}, nil
}

func (u *upstream) OrderCreate(context.Context, *lomsv1.OrderCreateRequest) (*lomsv1.OrderCreateResponse, error) {
	return &lomsv1.OrderCreateResponse{OrderId: 5}, nil
}

func (u *upstream) OrderInfo(context.Context, *lomsv1.OrderInfoRequest) (*lomsv1.OrderInfoResponse, error) {
	return &lomsv1.OrderInfoResponse{
		Status: "awaiting payment", UserId: 1, Items: []*lomsv1.OrderLine{{Sku: 1, Count: 2}, {Sku: 3, Count: 4}},
	}, nil
}

func (u *upstream) OrderPay(context.Context, *lomsv1.OrderPayRequest) (*lomsv1.OrderPayResponse, error) {
	return &lomsv1.OrderPayResponse{}, nil
}

func (u *upstream) StocksInfo(context.Context, *lomsv1.StocksInfoRequest) (*lomsv1.StocksInfoResponse, error) {
	return &lomsv1.StocksInfoResponse{}, nil
}

func (u *upstream) GetProduct(_ context.Context, r *productv1.GetProductRequest) (*productv1.GetProductResponse, error) {
	return &productv1.GetProductResponse{Sku: r.GetSku(), Name: `Нравственность, "и" \ что , ещё`}, nil
}

func (u *upstream) ListSkus(context.Context, *productv1.ListSkusRequest) (*productv1.ListSkusResponse, error) {
	return &productv1.ListSkusResponse{}, nil
}

func (u *upstream) ListNotifications(
	context.Context, *notifierv1.ListNotificationsRequest,
) (*notifierv1.ListNotificationsResponse, error) {
	return &notifierv1.ListNotificationsResponse{Notifications: []*notifierv1.Notification{
		{Status: "new", Moment: timestamppb.New(time.UnixMilli(1767323045678))},
	}}, nil
}

func (u *upstream) observe(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	if strings.HasPrefix(info.FullMethod, "/grpc.") {
		return next(ctx, req)
	}
	deadline, _ := ctx.Deadline()
	u.mu.Lock()
	u.calls++
	u.request, u.left = req.(proto.Message), time.Until(deadline)
	u.header, _ = metadata.FromIncomingContext(ctx)
	err, do := u.err, u.do
	u.mu.Unlock()
	_ = grpc.SetHeader(ctx, metadata.Pairs("x-internal", "secret"))
	_ = grpc.SetTrailer(ctx, metadata.Pairs("x-internal", "secret"))
	if do != nil {
		err = do(ctx, u.request)
	}
	if err != nil {
		return nil, err
	}
	return next(ctx, req)
}

// does sets what the next calls do before they answer.
func (u *upstream) does(do func(context.Context, proto.Message) error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.do = do
}

func newUpstream(t testing.TB, options ...grpc.ServerOption) *upstream {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	u := &upstream{health: healthserver.NewServer(), address: listener.Addr().String()}
	server := grpc.NewServer(append(options, grpc.UnaryInterceptor(u.observe))...)
	u.server = server
	cartv1.RegisterCartServiceServer(server, u)
	lomsv1.RegisterLomsServiceServer(server, u)
	productv1.RegisterProductServiceServer(server, u)
	notifierv1.RegisterNotifierServiceServer(server, u)
	grpc_health_v1.RegisterHealthServer(server, u.health)
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	return u
}
