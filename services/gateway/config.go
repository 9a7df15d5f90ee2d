package main

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// config is what the environment may say, and what holds where it is silent.
type config struct {
	listen, sideListen string
	addresses          map[string][]string // of the replicas of the services, by their short names
	openAPIFile, uiDir string
	corsOrigins        []string
	logFormat          string
	logLevel           slog.Level
	exitWithParent     bool
	identity           *identity // or nil
	tracing            tracing
}

// documents are those that are served when access is off, and on.
var documents = map[string]string{"off": "gen/openapi/openapi.json", "on": "gen/openapi/openapi-access.json"}

// readConfig reads every variable before it complains, so that one start shows
// all mistakes: one error for each, which names its variable.
func readConfig(lookup func(string) (string, bool)) (config, error) {
	e := environment{lookup: lookup}
	c := config{
		listen:      e.address("GATEWAY_LISTEN", "127.0.0.1:8080", 0),
		sideListen:  e.address("GATEWAY_SIDE_LISTEN", "127.0.0.1:9105", 0),
		addresses:   map[string][]string{},
		openAPIFile: e.text("GATEWAY_OPENAPI_FILE", documents[e.oneOf("GATEWAY_ACCESS", "off", "off", "on")]),
		uiDir:       e.text("GATEWAY_UI_DIR", "swagger-ui"),
		corsOrigins: e.origins("GATEWAY_CORS_ORIGINS"),
		logFormat:   e.oneOf("GATEWAY_LOG_FORMAT", "console", "console", "json"),
		logLevel:    levels[e.oneOf("GATEWAY_LOG_LEVEL", "info", "debug", "info", "warning", "error")],
	}
	for _, s := range services {
		c.addresses[s.name] = e.addresses(s.variable, s.address)
	}
	c.exitWithParent = e.oneOf("GATEWAY_EXIT_WITH_PARENT", "0", "0", "1") == "1"
	c.identity = e.identity()
	c.tracing = e.tracing()
	return c, errors.Join(e.mistakes...)
}

// variables are the names of all that the environment may say.
func variables() []string {
	asked := map[string]bool{}
	_, _ = readConfig(func(name string) (string, bool) {
		asked[name] = true
		return "traceidratio", name == "OTEL_TRACES_SAMPLER" // the one that has an argument
	})
	return slices.Sorted(maps.Keys(asked))
}

type environment struct {
	lookup   func(string) (string, bool)
	mistakes []error
}

func (e *environment) mistake(name, value, format string, args ...any) {
	e.mistakes = append(e.mistakes, fmt.Errorf("%s=%q: %s", name, value, fmt.Sprintf(format, args...)))
}

func (e *environment) text(name, byDefault string) string {
	value, set := e.lookup(name)
	if !set {
		return byDefault
	}
	if value == "" {
		e.mistake(name, value, "must not be empty")
	}
	return value
}

// address takes host:port. To listen on, port 0 asks the system for a free one.
func (e *environment) address(name, byDefault string, lowest int) string {
	value := e.text(name, byDefault)
	e.checkAddress(name, value, lowest)
	return value
}

func (e *environment) checkAddress(name, value string, lowest int) {
	_, port, err := net.SplitHostPort(value)
	if number, wrong := strconv.Atoi(port); value != "" && (err != nil || wrong != nil || number < lowest || number > 65535) {
		e.mistake(name, value, "must be host:port with a port from %d to 65535", lowest)
	}
}

// addresses takes those of the replicas of a service, separated by commas.
func (e *environment) addresses(name, byDefault string) []string {
	addresses := strings.Split(e.text(name, byDefault), ",")
	for _, address := range addresses {
		e.checkAddress(name, address, 1)
	}
	return addresses
}

func (e *environment) oneOf(name, byDefault string, choices ...string) string {
	value, set := e.lookup(name)
	if !set {
		return byDefault
	}
	if !slices.Contains(choices, value) {
		e.mistake(name, value, "must be one of %s", strings.Join(choices, ", "))
	}
	return value
}

// origins takes exact origins. Neither * nor null is one: both stand for pages
// that nobody has named.
func (e *environment) origins(name string) []string {
	value, _ := e.lookup(name)
	var origins []string
	for origin := range strings.SplitSeq(value, ",") {
		if origin = strings.TrimSpace(origin); origin == "" {
			continue
		}
		u, err := url.Parse(origin)
		if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.Scheme+"://"+u.Host != origin {
			e.mistake(name, origin, "must be an origin such as http://localhost:3000")
		}
		origins = append(origins, origin)
	}
	return origins
}
