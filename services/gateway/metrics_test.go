package main

import (
	"context"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// operators is the side of the gateway that is theirs.
func (s *started) operators(t testing.TB) *started {
	t.Helper()
	server := httptest.NewServer(s.side)
	t.Cleanup(server.Close)
	return &started{s.gateway, server.URL, s.log}
}

func (s *started) metrics(t testing.TB) string {
	t.Helper()
	return s.ask(t, "GET", "/metrics", "").text
}

func TestEachRequestAndEachCallIsMeasured(t *testing.T) {
	u := newUpstream(t)
	g := start(t, u.address)
	side := g.operators(t)
	g.ask(t, "GET", "/stock/info?sku=1", "")
	g.ask(t, "GET", "/stock/info?sku=1&sku=x", "")
	g.ask(t, "GET", "/nowhere", "")
	g.ask(t, "BREW", "/stock/info", "")
	g.ask(t, "GET", "/openapi.json", "")
	g.ask(t, "GET", "/healthz", "")
	u.does(func(context.Context, proto.Message) error { return status.Error(codes.FailedPrecondition, "no") })
	g.ask(t, "DELETE", "/user/1/cart", "")
	const requests, calls = "http_server_request_duration_seconds", "rpc_client_duration_seconds"
	for _, want := range []string{
		requests + `_count{http_request_method="GET",http_response_status_code="200",http_route="/stock/info"} 1`,
		requests + `_count{http_request_method="GET",http_response_status_code="400",http_route="/stock/info"} 1`,
		requests + `_count{http_request_method="GET",http_response_status_code="404",http_route="unknown"} 1`,
		requests + `_count{http_request_method="_OTHER",http_response_status_code="405",http_route="/stock/info"} 1`,
		requests + `_count{http_request_method="GET",http_response_status_code="200",http_route="/openapi.json"} 1`,
		requests + `_count{http_request_method="GET",http_response_status_code="200",http_route="/healthz"} 1`,
		requests + `_count{http_request_method="DELETE",http_response_status_code="412",http_route="/user/{user_id}/cart"} 1`,
		requests + `_bucket{http_request_method="GET",http_response_status_code="404",http_route="unknown",le="0.0025"} `,
		calls + `_count{rpc_code="OK",rpc_method="StocksInfo",rpc_service="LomsService"} 1`,
		calls + `_count{rpc_code="FAILED_PRECONDITION",rpc_method="Clear",rpc_service="CartService"} 1`,
		"http_server_active_requests 0\n", "go_goroutines ", "process_cpu_seconds_total ",
	} {
		eventually(t, func() bool { return strings.Contains(side.metrics(t), "\n"+want) })
	}
	if got := strings.Count(side.metrics(t), calls+"_count"); got != 2 {
		t.Errorf("%d RPCs were measured", got)
	}
}

func TestARequestIsActiveUntilItIsAnswered(t *testing.T) {
	u := newUpstream(t)
	g := start(t, u.address)
	side := g.operators(t)
	u.does(func(context.Context, proto.Message) error {
		if !strings.Contains(side.metrics(t), "\nhttp_server_active_requests 1\n") {
			t.Error("it is not active")
		}
		return nil
	})
	g.ask(t, "GET", "/stock/info?sku=1", "")
	eventually(t, func() bool { return strings.Contains(side.metrics(t), "\nhttp_server_active_requests 0\n") })
}

func TestNoCallerCanAddSeries(t *testing.T) {
	g := start(t, newUpstream(t).address)
	ask := func(n int) {
		for _, request := range []struct{ method, path string }{
			{"GET", fmt.Sprintf("/nowhere/%d", n)},
			{"GET", fmt.Sprintf("/user/x%d/cart", n)},
			{"GET", fmt.Sprintf("/stock/info?sku=%d&x%d=1", n, n)},
			{fmt.Sprintf("M%d", n), fmt.Sprintf("/user/%d/cart", n)},
		} {
			g.public.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(request.method, request.path, nil))
		}
	}
	series := func() int {
		w := httptest.NewRecorder()
		g.side.ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
		return strings.Count(w.Body.String(), "\nhttp_") + strings.Count(w.Body.String(), "\nrpc_")
	}
	ask(0)
	before := series()
	for n := range 2500 {
		ask(n + 1)
	}
	if got := series(); got != before || before < 4*len(buckets) {
		t.Errorf("%d series became %d", before, got)
	}
}

func TestWhatIsForOperatorsIsNotOnThePublicPort(t *testing.T) {
	g := start(t, newUpstream(t).address)
	side := g.operators(t)
	for _, path := range []string{"/metrics", "/debug/profile?seconds=0.1", "/debug/pprof/heap", "/debug/pprof/goroutine"} {
		if got := g.ask(t, "GET", path, ""); got.StatusCode != 404 {
			t.Error(path, got.StatusCode)
		}
		if got := side.ask(t, "GET", path, ""); got.StatusCode != 200 {
			t.Error(path, got.StatusCode, got.text)
		}
	}
}
