// Command gateway is the HTTP side of the marketplace: it turns JSON into gRPC
// and back, and refuses what the contract does not say.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// grace is the time that running requests get when the gateway stops.
const grace = 2 * time.Second

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	os.Exit(run(ctx, os.LookupEnv, os.Stdin, os.Stdout, os.Stderr))
}

// run gives the exit code: 2 for a wrong configuration, 1 for a start that failed.
func run(ctx context.Context, lookup func(string) (string, bool), stdin io.Reader, stdout, stderr io.Writer) int {
	c, err := readConfig(lookup)
	if err != nil {
		fmt.Fprintln(stderr, err)
		return 2
	}
	log := newLog(stdout, c.logFormat)
	said, err := contractOfServices()
	if err != nil {
		fmt.Fprintf(stderr, "the contract cannot be served:\n%v\n", err)
		return 1
	}
	g, err := newGateway(c, said, log)
	if err != nil {
		fmt.Fprintln(stderr, err)
		return 1
	}
	public, errPublic := listen("GATEWAY_LISTEN", c.listen)
	side, errSide := listen("GATEWAY_SIDE_LISTEN", c.sideListen)
	if err := errors.Join(errPublic, errSide); err != nil {
		fmt.Fprintln(stderr, err)
		return 1
	}
	if c.exitWithParent {
		var cancel context.CancelFunc
		ctx, cancel = context.WithCancel(ctx)
		// Only the parent holds the other end, so its death, of whatever kind, ends it.
		go func() { _, _ = io.Copy(io.Discard, stdin); cancel() }()
	}
	log.Info("the gateway listens", "url", "http://"+public.Addr().String(), "side", side.Addr().String())
	if err := g.serve(ctx, log, public, side); err != nil {
		log.Error("the gateway failed", "error", err.Error())
		return 1
	}
	log.Info("the gateway has stopped")
	return 0
}

func listen(variable, address string) (net.Listener, error) {
	listener, err := net.Listen("tcp", address)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		_, port, _ := net.SplitHostPort(address)
		return nil, fmt.Errorf("%s: port %s is taken: stop what listens on %s, or set %s to another address",
			variable, port, address, variable)
	case err != nil:
		return nil, fmt.Errorf("%s: %w", variable, err)
	}
	return listener, nil
}

// serve returns when the context ends and the running requests have ended, or
// have had their time.
func (g *gateway) serve(ctx context.Context, log *slog.Logger, public, side net.Listener) error {
	servers := []*http.Server{newServer(g.public, g.longest, log), newServer(g.side, g.longest, log)}
	failed := make(chan error, len(servers))
	for i, listener := range []net.Listener{public, side} {
		go func() { failed <- servers[i].Serve(listener) }()
	}
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	g.health.stopping.Store(true)
	late, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()
	for _, server := range servers {
		if server.Shutdown(late) != nil {
			_ = server.Close()
		}
	}
	for _, conn := range g.health.conns {
		_ = conn.Close()
	}
	return nil
}
