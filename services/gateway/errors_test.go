package main

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"
)

func TestEveryCodeHasTheStatusOfTheContract(t *testing.T) {
	u := newUpstream(t)
	g := start(t, u.address)
	for code, want := range map[codes.Code]int{
		codes.Canceled: 499, codes.InvalidArgument: 400, codes.DeadlineExceeded: 504, codes.NotFound: 404,
		codes.AlreadyExists: 409, codes.PermissionDenied: 403, codes.ResourceExhausted: 429, codes.FailedPrecondition: 412,
		codes.Aborted: 409, codes.OutOfRange: 400, codes.Unimplemented: 501, codes.Internal: 500, codes.Unavailable: 503,
		codes.DataLoss: 500, codes.Unauthenticated: 401,
	} {
		t.Run(code.String()+" with the words and the details of the service", func(t *testing.T) {
			u.err = withDetail(code, "as said", &errdetails.ErrorInfo{Reason: "WHY", Domain: "marketplace"}).Err()
			got := g.ask(t, "GET", "/stock/info?sku=1", "")
			if got.StatusCode != want || got.status.Code != int(code) || got.status.Message != "as said" ||
				got.status.Details[0].Reason != "WHY" || got.Header.Get("Content-Type") != "application/json" {
				t.Error(got.StatusCode, got.text)
			}
		})
	}
}

func TestACallThatAServerCancelsByItselfMayBeTriedAgain(t *testing.T) {
	u := newUpstream(t)
	g := start(t, u.address)
	u.err = status.Error(codes.Canceled, "CANCELLED")
	if got := g.ask(t, "GET", "/stock/info?sku=1", ""); got.StatusCode != 503 || got.status.Message != "service unavailable" {
		t.Error(got.StatusCode, got.text)
	}
}

func TestErrorsSayWhatServicesSay(t *testing.T) {
	u := newUpstream(t)
	g := start(t, u.address)
	for _, c := range []struct {
		promise string
		err     error
		want    string
	}{
		{
			"the rules that a message breaks",
			withDetail(codes.InvalidArgument, "m", &errdetails.BadRequest{FieldViolations: []*errdetails.BadRequest_FieldViolation{
				{Field: "items[0].count", Description: "must be > 0", Reason: "uint32.gte_lte"},
			}}).Err(),
			`{"code":3,"message":"m","details":[{"@type":"type.googleapis.com/google.rpc.BadRequest","fieldViolations":` +
				`[{"field":"items[0].count","description":"must be > 0","reason":"uint32.gte_lte"}]}]}`,
		},
		{
			"an error without details, in the same shape",
			status.Error(codes.NotFound, "gone, and \"quoted\" "),
			`{"code":5,"message":"gone, and \"quoted\" ","details":[]}`,
		},
		{
			"an internal error as the service writes it",
			withDetail(codes.Internal, "internal error", &errdetails.ErrorInfo{Reason: "INTERNAL", Domain: "marketplace",
				Metadata: map[string]string{"error_id": "7f"}}).Err(),
			`{"code":13,"message":"internal error","details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo",` +
				`"reason":"INTERNAL","domain":"marketplace","metadata":{"error_id":"7f"}}]}`,
		},
		{"an internal error of the transport, without its words", status.Error(codes.Internal, "s3cr3t"),
			`{"code":13,"message":"internal error","details":[]}`},
		{"an error without a code, without its words", errors.New("s3cr3t"), `{"code":13,"message":"internal error","details":[]}`},
		{"a service that is down, without its words", status.Error(codes.Unavailable, "dial tcp 10.0.0.1:5432"),
			`{"code":14,"message":"service unavailable","details":[]}`},
		{"a detail of an unknown type, by leaving it out", withUnknownDetail(),
			`{"code":9,"details":[],"message":"m"}`},
	} {
		t.Run(c.promise, func(t *testing.T) {
			u.err = c.err
			if got := g.ask(t, "GET", "/stock/info?sku=1", ""); got.text != c.want {
				t.Error(got.text)
			}
		})
	}
	t.Run("when to come again", func(t *testing.T) {
		u.err = withDetail(codes.ResourceExhausted, "m", &errdetails.RetryInfo{RetryDelay: durationpb.New(1500 * time.Millisecond)}).Err()
		got := g.ask(t, "GET", "/stock/info?sku=1", "")
		if got.Header.Get("Retry-After") != "2" || !strings.Contains(got.text, `"retryDelay":"1.500s"`) {
			t.Error(got.Header, got.text)
		}
	})
}

func withUnknownDetail() error {
	s := withDetail(codes.FailedPrecondition, "m", protoadapt.MessageV1Of(durationpb.New(1))).Proto()
	s.Details[0].TypeUrl = "type.googleapis.com/marketplace.Unknown"
	return status.ErrorProto(s)
}

func TestAServiceThatIsDownIs503WithoutItsAddress(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	listener.Close()
	_, port, _ := net.SplitHostPort(address)
	got := start(t, address).ask(t, "GET", "/stock/info?sku=1", "")
	if got.StatusCode != 503 || got.status.Message != "service unavailable" || strings.Contains(got.text, port) {
		t.Error(got.StatusCode, got.text)
	}
}

func TestACallHasTheTimeOfItsPolicy(t *testing.T) {
	u := newUpstream(t)
	g := start(t, u.address)
	for path, want := range map[string]time.Duration{"/stock/info?sku=1": 5 * time.Second, "/user/1/cart": 15 * time.Second} {
		g.ask(t, "GET", path, "")
		if u.left > want || u.left < want-time.Second {
			t.Errorf("%s had %s", path, u.left)
		}
	}
	t.Run("and then it is 504", func(t *testing.T) {
		hasty := start(t, u.address, func(s *setup) {
			s.contract.policies["/marketplace.loms.v1.LomsService/StocksInfo"].deadline = 50 * time.Millisecond
		})
		u.does(func(ctx context.Context, _ proto.Message) error { <-ctx.Done(); return ctx.Err() })
		defer u.does(nil)
		if got := hasty.ask(t, "GET", "/stock/info?sku=1", ""); got.StatusCode != 504 || got.status.Code != 4 {
			t.Error(got.StatusCode, got.text)
		}
	})
	t.Run("also when it takes longer than the request may take to arrive", func(t *testing.T) {
		u.does(func(ctx context.Context, _ proto.Message) error { time.Sleep(300 * time.Millisecond); return ctx.Err() })
		defer u.does(nil)
		slow := start(t, u.address, withReadTimeout(100*time.Millisecond))
		for _, got := range []answer{
			slow.ask(t, "GET", "/stock/info?sku=1", ""), slow.ask(t, "POST", "/order/pay", `{"orderId":1}`),
		} {
			if got.StatusCode != 200 {
				t.Error(got.StatusCode, got.text)
			}
		}
	})
	t.Run("and none once the caller is gone", func(t *testing.T) {
		ended := make(chan struct{})
		begun := make(chan struct{})
		u.do = func(ctx context.Context, _ proto.Message) error {
			close(begun)
			<-ctx.Done()
			close(ended)
			return ctx.Err()
		}
		defer u.does(nil)
		conn, err := net.Dial("tcp", strings.TrimPrefix(g.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		_, _ = conn.Write([]byte("GET /stock/info?sku=1 HTTP/1.1\r\nHost: x\r\n\r\n"))
		<-begun
		conn.Close()
		select {
		case <-ended:
		case <-time.After(2 * time.Second):
			t.Error("the call goes on")
		}
	})
}
