package main

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
)

const healthPath = "/healthz"

// gateway is the public side and the side for the operators.
type gateway struct {
	public, side http.Handler
	health       *health
	traces       *traces
	longest      time.Duration
}

func newGateway(c config, said *contract, log *slog.Logger) (*gateway, error) {
	handlers, err := readPages(c.uiDir, c.openAPIFile)
	if err != nil {
		return nil, err
	}
	traces, err := newTraces(c.tracing, log)
	if err != nil {
		return nil, err
	}
	metrics := newMetrics()
	g := &gateway{health: &health{conns: map[string]*grpc.ClientConn{}}, traces: traces, longest: said.longest}
	mux := said.mux()
	for _, s := range services {
		conn, err := said.dial(c.addresses[s.name], c.identity.credentialsFor(s.name, log), metrics.call, traces.call)
		if err == nil {
			err = s.register(context.Background(), mux, conn)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", s.variable, err)
		}
		g.health.conns[s.name] = conn
	}
	handlers[healthPath] = http.HandlerFunc(g.health.ready)
	o := observer{log, metrics, traces}
	g.public = o.observed(crossOrigin(c.corsOrigins, fixed(handlers, said.edge(mux))))
	forOperators := map[string]http.Handler{
		healthPath: http.HandlerFunc(g.health.alive),
		"/readyz":  http.HandlerFunc(g.health.ready),
		"/metrics": metrics.page(),
	}
	maps.Copy(forOperators, profiles)
	g.side = fixed(forOperators, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		refuse(w, http.StatusNotFound, codes.NotFound, "there is nothing at this path")
	}))
	return g, nil
}

func newServer(handler http.Handler, longest time.Duration, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       15 * time.Second,
		WriteTimeout:      longest + 5*time.Second, // a call in time is also answered in time
		IdleTimeout:       60 * time.Second,
		MaxHeaderBytes:    maxHeaders,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelError),
	}
}
