package main

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// What the edge costs beside a handler of grpc-gateway as it comes, with a
// service that costs next to nothing.
func BenchmarkTheGatewayBesidePlainGrpcGateway(b *testing.B) {
	u := newUpstream(b)
	said, err := contractOfServices()
	if err != nil {
		b.Fatal(err)
	}
	c := config{addresses: map[string][]string{}}
	c.uiDir, c.openAPIFile = files(b)
	conn, err := grpc.NewClient(u.address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		b.Fatal(err)
	}
	plain := runtime.NewServeMux()
	for _, s := range services {
		c.addresses[s.name] = []string{u.address}
		if err := s.register(context.Background(), plain, conn); err != nil {
			b.Fatal(err)
		}
	}
	g, err := newGateway(c, said, newLog(&lines{}, "json", slog.LevelInfo))
	if err != nil {
		b.Fatal(err)
	}
	slog.SetDefault(slog.New(slog.DiscardHandler))
	const order = `{"userId":"1","items":[{"sku":1148162,"count":1},{"sku":1625903,"count":2},{"sku":2618151,"count":3}]}`
	for _, call := range []struct{ method, path, body string }{
		{"GET", "/stock/info?sku=1", ""}, {"POST", "/order/create", order},
	} {
		for name, handler := range map[string]http.Handler{"ours": g.public, "plain": plain} {
			b.Run(name+" "+call.path, func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					request(b, handler, call.method, call.path, call.body)
				}
			})
		}
	}
}

func request(b *testing.B, handler http.Handler, method, path, body string) {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.Header = http.Header{
		"Content-Type": {"application/json"}, "Authorization": {"Bearer testtoken"},
		"User-Agent": {"x"}, "Accept": {"*/*"}, "Accept-Encoding": {"gzip"},
	}
	w := httptest.NewRecorder()
	if handler.ServeHTTP(w, r); w.Code != 200 {
		b.Fatal(w.Code, w.Body)
	}
}

// What traces cost, with a collector that takes them.
func BenchmarkTheGatewayWithTraces(b *testing.B) {
	u, z := newUpstream(b), newZipkinServer(b, http.StatusAccepted)
	for _, c := range []struct {
		name   string
		change func(*setup)
	}{
		{"none", func(*setup) {}},
		{"of 1 %", withTraces(b, z.url, "OTEL_TRACES_SAMPLER=parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG=0.01")},
		{"of all", withTraces(b, z.url)},
	} {
		g := start(b, u.address, c.change)
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				request(b, g.public, "GET", "/stock/info?sku=1", "")
			}
		})
		g.traces.stop(b.Context())
	}
}
