package main

import (
	"encoding/json"
	"net"
	"net/http/httptest"
	"strings"
	"testing"

	"google.golang.org/grpc/health/grpc_health_v1"
)

func TestHealthIsThatOfTheServices(t *testing.T) {
	u := newUpstream(t)
	g := start(t, u.address)
	got := g.ask(t, "GET", "/healthz", "")
	serving := map[string]string{}
	for _, s := range services {
		serving[s.name] = "SERVING"
	}
	statuses, err := json.Marshal(serving)
	if err != nil || len(serving) < 4 || got.StatusCode != 200 ||
		got.text != `{"status":"SERVING","services":`+string(statuses)+"}\n" {
		t.Error(got.StatusCode, got.text)
	}
	t.Run("also when one does not serve", func(t *testing.T) {
		u.health.SetServingStatus("", grpc_health_v1.HealthCheckResponse_NOT_SERVING)
		defer u.health.SetServingStatus("", grpc_health_v1.HealthCheckResponse_SERVING)
		got := g.ask(t, "GET", "/healthz", "")
		if got.StatusCode != 503 || !strings.Contains(got.text, `"cart":"NOT_SERVING"`) {
			t.Error(got.StatusCode, got.text)
		}
	})
	t.Run("also when one is down, without its address", func(t *testing.T) {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		listener.Close()
		address := listener.Addr().String()
		got := start(t, address).ask(t, "GET", "/healthz", "")
		if got.StatusCode != 503 || !strings.Contains(got.text, `"loms":"UNREACHABLE"`) ||
			strings.Contains(got.text, strings.Split(address, ":")[1]) {
			t.Error(got.StatusCode, got.text)
		}
	})
	t.Run("and on the side port only readiness", func(t *testing.T) {
		u.health.SetServingStatus("", grpc_health_v1.HealthCheckResponse_NOT_SERVING)
		defer u.health.SetServingStatus("", grpc_health_v1.HealthCheckResponse_SERVING)
		for path, want := range map[string]int{"/healthz": 200, "/readyz": 503, "/": 404, "/stock/info": 404} {
			w := httptest.NewRecorder()
			g.side.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
			if w.Code != want {
				t.Error(path, w.Code, w.Body)
			}
		}
	})
	t.Run("and 503 while the gateway stops", func(t *testing.T) {
		g.health.stopping.Store(true)
		defer g.health.stopping.Store(false)
		if got := g.ask(t, "GET", "/healthz", ""); got.StatusCode != 503 {
			t.Error(got.StatusCode, got.text)
		}
	})
}
