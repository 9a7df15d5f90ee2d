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
	"strings"
	"syscall"
	"time"
)

// grace is the time that running requests get when the gateway stops.
const grace = 2 * time.Second

const usage = `usage: gateway [--check | --variables]

  --check       say whether the contract can be served and the settings are right, and end
  --variables   list the variables of the environment that it reads, and end

Everything else is said in the environment.
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	p := program{os.Args[1:], os.LookupEnv, os.Stdin, os.Stdout, os.Stderr, contractOfServices}
	os.Exit(p.run(ctx))
}

// program is what the process gets from outside, and its contract.
type program struct {
	arguments      []string
	lookup         func(string) (string, bool)
	stdin          io.Reader
	stdout, stderr io.Writer
	contract       func() (*contract, error)
}

// run gives the exit code: 2 when there is something to mend before a start can
// succeed, 1 when the gateway fails later.
func (p *program) run(ctx context.Context) int {
	switch strings.Join(p.arguments, " ") {
	case "":
		return p.start(ctx)
	case "--check":
		_, err := p.contract()
		_, errConfig := readConfig(p.lookup)
		return max(p.mend("the contract cannot be served", err), p.mend("cannot start", errConfig))
	case "--variables":
		fmt.Fprintln(p.stdout, strings.Join(variables(), "\n"))
		return 0
	}
	fmt.Fprint(p.stderr, usage)
	return 2
}

// mend says what has to be mended, if anything, as the services do.
func (p *program) mend(what string, err error) int {
	if err == nil {
		return 0
	}
	space := " "
	if strings.Contains(err.Error(), "\n") {
		space = "\n"
	}
	fmt.Fprintf(p.stderr, "%s:%s%v\n", what, space, err)
	return 2
}

func (p *program) start(ctx context.Context) int {
	c, err := readConfig(p.lookup)
	if err != nil {
		return p.mend("cannot start", err)
	}
	log := newLog(p.stdout, c.logFormat, c.logLevel)
	g, public, side, err := p.prepare(c, log)
	if err != nil {
		return p.mend("cannot start", err)
	}
	if c.exitWithParent {
		var cancel context.CancelFunc
		ctx, cancel = context.WithCancel(ctx)
		// Only the parent holds the other end, so its death, of whatever kind, ends it.
		go func() { _, _ = io.Copy(io.Discard, p.stdin); cancel() }()
	}
	log.Info("the gateway listens", "url", "http://"+public.Addr().String(), "side", side.Addr().String())
	if err := g.serve(ctx, log, public, side); err != nil {
		log.Error("the gateway failed", "error", err.Error())
		return 1
	}
	log.Info("the gateway has stopped")
	return 0
}

// prepare tries all that can fail, so that one start shows all there is to mend.
func (p *program) prepare(c config, log *slog.Logger) (g *gateway, public, side net.Listener, err error) {
	said, err := p.contract()
	if err == nil {
		g, err = newGateway(c, said, log)
	}
	public, errPublic := listen("GATEWAY_LISTEN", c.listen)
	side, errSide := listen("GATEWAY_SIDE_LISTEN", c.sideListen)
	return g, public, side, errors.Join(err, errPublic, errSide)
}

func listen(variable, address string) (net.Listener, error) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("%s is taken or not ours: stop what listens there or set %s", address, variable)
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
	g.traces.stop(late)
	for _, conn := range g.health.conns {
		_ = conn.Close()
	}
	return nil
}
