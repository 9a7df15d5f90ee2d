package main

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	_ "google.golang.org/grpc/health" // asks replicas how they are
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// dial connects at the first call and, after a loss, again within a second: a
// service that restarts should not be missed for the two minutes of the default.
// Each replica, of those that are listed or of those that the only name has in
// the DNS, gets its share of the calls while it is there. The observers see each
// call as it is sent.
func (c *contract) dial(
	addresses []string, transport credentials.TransportCredentials, observers ...grpc.UnaryClientInterceptor,
) (*grpc.ClientConn, error) {
	listed := manual.NewBuilderWithScheme("listed")
	var state resolver.State
	for _, address := range addresses {
		state.Endpoints = append(state.Endpoints, resolver.Endpoint{Addresses: []resolver.Address{{Addr: address}}})
	}
	listed.InitialState(state)
	target, serviceConfig := addresses[0], `{"loadBalancingConfig": [{"round_robin": {}}]}`
	if len(addresses) > 1 {
		target = listed.Scheme() + ":///" + target
		// One that reports NOT_SERVING, because it is about to stop, gets no more calls.
		serviceConfig = `{"loadBalancingConfig": [{"round_robin": {}}], "healthCheckConfig": {"serviceName": ""}}`
	}
	return grpc.NewClient(target,
		grpc.WithResolvers(listed),
		grpc.WithDefaultServiceConfig(serviceConfig),
		grpc.WithTransportCredentials(transport),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 30 * time.Second, Timeout: 5 * time.Second}),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: time.Second},
			MinConnectTimeout: 2 * time.Second,
		}),
		grpc.WithChainUnaryInterceptor(withMetadata, c.withRequestID, c.withDeadline),
		grpc.WithChainUnaryInterceptor(observers...),
	)
}

// withMetadata replaces what grpc-gateway has made of the request with what the
// edge let through.
func withMetadata(
	ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, call grpc.UnaryInvoker, opts ...grpc.CallOption,
) error {
	return call(metadata.NewOutgoingContext(ctx, exchangeOf(ctx).metadata), method, req, reply, cc, opts...)
}

// withRequestID fills the field request_id from the header Idempotency-Key.
func (c *contract) withRequestID(
	ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, call grpc.UnaryInvoker, opts ...grpc.CallOption,
) error {
	key := exchangeOf(ctx).metadata["idempotency-key"]
	if p := c.policies[method]; p != nil && p.requestID != nil && len(key) > 0 {
		message := req.(proto.Message).ProtoReflect()
		if !message.Has(p.requestID) {
			message.Set(p.requestID, protoreflect.ValueOfString(key[0]))
		} else if !strings.EqualFold(message.Get(p.requestID).String(), key[0]) { // uuids have no case
			return reused()
		}
	}
	return call(ctx, method, req, reply, cc, opts...)
}

// withDeadline gives a call the time of its policy.
func (c *contract) withDeadline(
	ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, call grpc.UnaryInvoker, opts ...grpc.CallOption,
) error {
	if p := c.policies[method]; p != nil {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, p.deadline)
		defer cancel()
	}
	return call(ctx, method, req, reply, cc, opts...)
}

// mux is grpc-gateway, with all that it would do on its own taken away.
func (c *contract) mux() *runtime.ServeMux {
	none := func(string) (string, bool) { return "", false }
	return runtime.NewServeMux(
		runtime.WithMarshalerOption(runtime.MIMEWildcard, newMarshaler()),
		runtime.WithIncomingHeaderMatcher(none),
		runtime.WithOutgoingHeaderMatcher(none),
		runtime.WithOutgoingTrailerMatcher(none),
		runtime.WithDisableHTTPMethodOverride(),
		runtime.WithDisablePathLengthFallback(),
		runtime.WithWriteContentLength(),
		runtime.WithErrorHandler(c.handleError),
		runtime.WithRoutingErrorHandler(handleRoutingError),
		runtime.WithForwardResponseOption(c.succeed),
	)
}

// succeed answers with the status of the policy. After a 204, net/http drops the
// body that grpc-gateway writes all the same.
func (c *contract) succeed(ctx context.Context, w http.ResponseWriter, _ proto.Message) error {
	w.Header().Set("Cache-Control", "no-store")
	method, _ := runtime.RPCMethod(ctx)
	success := c.policies[method].success
	if success == http.StatusNoContent {
		w.Header().Del("Content-Type")
	}
	if success != http.StatusOK {
		w.WriteHeader(success)
	}
	return nil
}
