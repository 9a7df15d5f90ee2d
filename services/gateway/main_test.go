package main

import (
	"context"
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
	go func() { r.code <- run(ctx, environ(settings...), stdin, r.stdout, r.stderr) }()
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
	_, port, _ := net.SplitHostPort(taken.Addr().String())
	uiDir, _ := files(t)
	if err := os.Remove(filepath.Join(uiDir, pages["/swagger-ui.css"].file)); err != nil {
		t.Fatal(err)
	}
	for promise, c := range map[string]struct {
		setting string
		code    int
		want    string
	}{
		"of a wrong value":      {"GATEWAY_LOG_FORMAT=xml", 2, `GATEWAY_LOG_FORMAT: "xml" must be one of console, json` + "\n"},
		"of a taken port":       {"GATEWAY_LISTEN=127.0.0.1:" + port, 1, "GATEWAY_LISTEN: port " + port + " is taken: stop what listens on"},
		"of a taken side port":  {"GATEWAY_SIDE_LISTEN=127.0.0.1:" + port, 1, "or set GATEWAY_SIDE_LISTEN to another address"},
		"of no OpenAPI file":    {"GATEWAY_OPENAPI_FILE=nowhere.json", 1, "nowhere.json cannot be read: run `make setup`"},
		"of a missing UI":       {"GATEWAY_UI_DIR=" + uiDir, 1, "swagger-ui.css cannot be read: run `make setup`"},
		"of an address unknown": {"GATEWAY_LISTEN=203.0.113.1:1", 1, "GATEWAY_LISTEN: listen tcp"},
	} {
		t.Run(promise, func(t *testing.T) {
			r := runProgram(t, nil, c.setting)
			r.ends(t, c.code)
			if got := r.stderr.String(); !strings.Contains(got, c.want) || strings.Count(got, "\n") != 1 {
				t.Error(got)
			}
		})
	}
}
