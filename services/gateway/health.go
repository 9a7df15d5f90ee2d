package main

import (
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health/grpc_health_v1"
)

// health asks the services how they are.
type health struct {
	conns    map[string]*grpc.ClientConn // by the short names of the services
	stopping atomic.Bool
}

type healthReport struct {
	Status   string            `json:"status"`
	Services map[string]string `json:"services,omitempty"`
}

// ready tells whether every service can be used through this gateway.
func (h *health) ready(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), time.Second)
	defer cancel()
	states := make([]string, len(h.conns))
	names := slices.Sorted(maps.Keys(h.conns))
	var all sync.WaitGroup
	for i, name := range names {
		all.Go(func() { states[i] = stateOf(ctx, h.conns[name]) })
	}
	all.Wait()
	report := healthReport{"SERVING", map[string]string{}}
	for i, name := range names {
		report.Services[name] = states[i]
		if states[i] != "SERVING" {
			report.Status = "NOT_SERVING"
		}
	}
	h.write(w, report)
}

// alive tells only that the gateway itself runs: a service that is down is no
// reason to restart the gateway.
func (h *health) alive(w http.ResponseWriter, _ *http.Request) {
	h.write(w, healthReport{Status: "SERVING"})
}

func (h *health) write(w http.ResponseWriter, report healthReport) {
	if h.stopping.Load() {
		report.Status = "NOT_SERVING"
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	if report.Status != "SERVING" {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	_ = json.NewEncoder(w).Encode(report)
}

// stateOf names no cause: it would hold the address.
func stateOf(ctx context.Context, conn *grpc.ClientConn) string {
	answer, err := grpc_health_v1.NewHealthClient(conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{})
	if err != nil {
		return "UNREACHABLE"
	}
	return answer.GetStatus().String()
}
