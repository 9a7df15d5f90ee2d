package main

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
)

// running is the whole program without its process.
type running struct {
	url    string
	stop   context.CancelFunc
	code   chan int
	stdout *lines
	stderr *lines
}

func runProgram(t *testing.T, stdin io.Reader, settings ...string) *running {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	t.Cleanup(stop)
	r := &running{stop: stop, code: make(chan int, 1), stdout: &lines{}, stderr: &lines{}}
	uiDir, openAPIFile := files(t)
	settings = append(settings, "GATEWAY_LISTEN=127.0.0.1:0", "GATEWAY_SIDE_LISTEN=127.0.0.1:0", "GATEWAY_LOG_FORMAT=json",
		"GATEWAY_UI_DIR="+uiDir, "GATEWAY_OPENAPI_FILE="+openAPIFile)
	p := program{lookup: environ(settings...), stdin: stdin, stdout: r.stdout, stderr: r.stderr, contract: contractOfServices}
	go func() { r.code <- p.run(ctx) }()
	return r
}

func (r *running) listens(t *testing.T) {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if found := regexp.MustCompile(`"url":"(.*?)"`).FindStringSubmatch(r.stdout.String()); found != nil {
			r.url = found[1]
			return
		}
	}
	t.Fatal(r.stdout, r.stderr)
}

func (r *running) ends(t *testing.T, want int) {
	t.Helper()
	select {
	case code := <-r.code:
		if code != want {
			t.Errorf("exit code %d: %s %s", code, r.stdout, r.stderr)
		}
	case <-time.After(5 * time.Second):
		t.Fatal("it does not end")
	}
}

func TestTheGatewayStopsAfterItsRequests(t *testing.T) {
	u := newUpstream(t)
	begun := make(chan struct{})
	u.do = func(context.Context, proto.Message) error {
		close(begun)
		time.Sleep(300 * time.Millisecond)
		return nil
	}
	r := runProgram(t, nil, "GATEWAY_LOMS_ADDRESS="+u.address)
	r.listens(t)
	status := make(chan int, 1)
	go func() {
		response, err := http.Get(r.url + "/stock/info?sku=1")
		if err != nil {
			t.Error(err)
			status <- 0
			return
		}
		response.Body.Close()
		status <- response.StatusCode
	}()
	<-begun
	r.stop()
	if got := <-status; got != 200 {
		t.Error(got)
	}
	r.ends(t, 0)
}

func TestTheGatewayDoesNotWaitForRequestsForever(t *testing.T) {
	u := newUpstream(t)
	begun := make(chan struct{})
	u.does(func(ctx context.Context, _ proto.Message) error { close(begun); <-ctx.Done(); return ctx.Err() })
	r := runProgram(t, nil, "GATEWAY_LOMS_ADDRESS="+u.address)
	r.listens(t)
	go func() {
		if response, err := http.Get(r.url + "/stock/info?sku=1"); err == nil {
			response.Body.Close()
		}
	}()
	<-begun
	start := time.Now()
	r.stop()
	r.ends(t, 0)
	if took := time.Since(start); took > grace+time.Second {
		t.Error(took)
	}
}

func TestTheGatewayEndsWithItsParent(t *testing.T) {
	stdin, parent := io.Pipe()
	r := runProgram(t, stdin, "GATEWAY_EXIT_WITH_PARENT=1")
	r.listens(t)
	parent.Close()
	r.ends(t, 0)
}

func TestTheGatewayWithoutAParentDoesNotReadItsInput(t *testing.T) {
	r := runProgram(t, strings.NewReader(""))
	r.listens(t)
	time.Sleep(50 * time.Millisecond)
	r.stop()
	r.ends(t, 0)
}

func TestAStartThatFailsSaysWhatToDo(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	address := taken.Addr().String()
	uiDir, _ := files(t)
	missing := filepath.Join(uiDir, pages["/swagger-ui.css"].file)
	if err := os.Remove(missing); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		promise  string
		settings []string
		want     string
	}{
		{"of a wrong value", []string{"GATEWAY_LOG_FORMAT=xml"}, `cannot start: GATEWAY_LOG_FORMAT="xml": must be one of console, json`},
		{"of a taken port", []string{"GATEWAY_LISTEN=" + address},
			"cannot start: " + address + " is taken or not ours: stop what listens there or set GATEWAY_LISTEN"},
		{"of a taken side port", []string{"GATEWAY_SIDE_LISTEN=" + address},
			"cannot start: " + address + " is taken or not ours: stop what listens there or set GATEWAY_SIDE_LISTEN"},
		{"of an address of others", []string{"GATEWAY_LISTEN=203.0.113.1:1"},
			"cannot start: 203.0.113.1:1 is taken or not ours: stop what listens there or set GATEWAY_LISTEN"},
		{"of no OpenAPI file", []string{"GATEWAY_OPENAPI_FILE=nowhere.json"},
			"cannot start: nowhere.json cannot be read: run `make generate` or set GATEWAY_OPENAPI_FILE"},
		{"of a missing page", []string{"GATEWAY_UI_DIR=" + uiDir},
			"cannot start: " + missing + " cannot be read: run `make setup` or set GATEWAY_UI_DIR"},
		{"of a missing UI, once", []string{"GATEWAY_UI_DIR=nowhere"},
			"cannot start: nowhere/index.html cannot be read: run `make setup` or set GATEWAY_UI_DIR"},
		{"of two wrong values", []string{"GATEWAY_LOG_LEVEL=", "GATEWAY_CART_ADDRESS=cart"},
			"cannot start:\n" + `GATEWAY_LOG_LEVEL="": must be one of debug, info, warning, error` +
				"\n" + `GATEWAY_CART_ADDRESS="cart": must be host:port with a port from 1 to 65535`},
		{"of all that is wrong elsewhere",
			[]string{"GATEWAY_UI_DIR=nowhere", "GATEWAY_OPENAPI_FILE=nowhere", "GATEWAY_LISTEN=" + address, "GATEWAY_SIDE_LISTEN=" + address},
			"cannot start:\n" +
				"nowhere cannot be read: run `make generate` or set GATEWAY_OPENAPI_FILE\n" +
				"nowhere/index.html cannot be read: run `make setup` or set GATEWAY_UI_DIR\n" +
				address + " is taken or not ours: stop what listens there or set GATEWAY_LISTEN\n" +
				address + " is taken or not ours: stop what listens there or set GATEWAY_SIDE_LISTEN"},
	} {
		t.Run(c.promise, func(t *testing.T) {
			r := runProgram(t, nil, c.settings...)
			r.ends(t, 2)
			if got := r.stderr.String(); got != c.want+"\n" || r.stdout.String() != "" {
				t.Error(got, r.stdout)
			}
		})
	}
}

func TestAContractThatCannotBeServedIsFoundBeforeTheStart(t *testing.T) {
	wrong := func() (*contract, error) { return nil, errors.New("a.B.C: it has no policy\na.B.D: likewise") }
	for _, c := range []struct {
		promise   string
		arguments []string
		contract  func() (*contract, error)
		code      int
		stderr    string
	}{
		{"and one that can be passes the check", []string{"--check"}, contractOfServices, 0, ""},
		{"by the check", []string{"--check"}, wrong, 2, "the contract cannot be served:\na.B.C: it has no policy\na.B.D: likewise\n"},
		{"by the start at the latest", nil, wrong, 2, "cannot start:\na.B.C: it has no policy\na.B.D: likewise\n"},
		{"but not by a check that is misspelt", []string{"--chekc"}, contractOfServices, 2, usage},
		{"nor by a check of something", []string{"--check", "api"}, contractOfServices, 2, usage},
	} {
		t.Run(c.promise, func(t *testing.T) {
			uiDir, openAPIFile := files(t)
			var stdout, stderr lines
			p := program{stdout: &stdout, stderr: &stderr, contract: c.contract, arguments: c.arguments,
				lookup: environ("GATEWAY_LISTEN=127.0.0.1:0", "GATEWAY_SIDE_LISTEN=127.0.0.1:0", "GATEWAY_UI_DIR="+uiDir,
					"GATEWAY_OPENAPI_FILE="+openAPIFile)}
			if code := p.run(context.Background()); code != c.code || stderr.String() != c.stderr || stdout.String() != "" {
				t.Error(code, stderr.String(), stdout.String())
			}
		})
	}
}
