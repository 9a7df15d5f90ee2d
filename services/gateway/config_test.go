package main

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func environ(pairs ...string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		for _, pair := range pairs {
			if value, found := strings.CutPrefix(pair, name+"="); found {
				return value, true
			}
		}
		return "", false
	}
}

func TestEverySettingHasADefault(t *testing.T) {
	c, err := readConfig(environ())
	if err != nil || c.listen != "127.0.0.1:8080" || c.sideListen != "127.0.0.1:9105" || c.addresses["notifier"][0] != "127.0.0.1:50054" ||
		c.openAPIFile != "gen/openapi/openapi.json" || c.uiDir != "swagger-ui" || c.corsOrigins != nil || c.logFormat != "console" ||
		c.logLevel != slog.LevelInfo || c.exitWithParent || c.tracing.exporter != "none" || c.tracing.serviceName != "gateway" ||
		c.tracing.otlpEndpoint != "http://localhost:4317" || c.tracing.zipkinEndpoint != "http://localhost:9411/api/v2/spans" {
		t.Errorf("%+v %v", c, err)
	}
}

func TestAccessChoosesTheDocumentUnlessAnotherOneIsNamed(t *testing.T) {
	for settings, want := range map[string]string{
		"GATEWAY_ACCESS=off":                            "gen/openapi/openapi.json",
		"GATEWAY_ACCESS=on":                             "gen/openapi/openapi-access.json",
		"GATEWAY_ACCESS=on GATEWAY_OPENAPI_FILE=x.json": "x.json",
	} {
		c, err := readConfig(environ(strings.Fields(settings)...))
		if err != nil || c.openAPIFile != want {
			t.Error(settings, c.openAPIFile, err)
		}
		if _, err := os.Stat(filepath.Join("..", "..", c.openAPIFile)); err != nil && want != "x.json" {
			t.Error(err)
		}
	}
}

func TestEverySettingCanBeSet(t *testing.T) {
	c, err := readConfig(environ("GATEWAY_LISTEN=:0", "GATEWAY_LOMS_ADDRESS=loms:1,loms:2", "GATEWAY_CORS_ORIGINS=http://a, https://b:8443",
		"GATEWAY_LOG_FORMAT=json", "GATEWAY_LOG_LEVEL=warning", "GATEWAY_EXIT_WITH_PARENT=1", "GATEWAY_UI_DIR=x"))
	if err != nil || c.listen != ":0" || strings.Join(c.addresses["loms"], " ") != "loms:1 loms:2" || c.logFormat != "json" || c.logLevel != slog.LevelWarn || !c.exitWithParent ||
		c.uiDir != "x" || strings.Join(c.corsOrigins, " ") != "http://a https://b:8443" {
		t.Errorf("%+v %v", c, err)
	}
}

func TestEveryMistakeIsListed(t *testing.T) {
	_, err := readConfig(environ("GATEWAY_LISTEN=8080", "GATEWAY_SIDE_LISTEN=:x", "GATEWAY_CART_ADDRESS=cart:1,cart:0",
		"GATEWAY_LOMS_ADDRESS=", "GATEWAY_CORS_ORIGINS=*,null,http://a/b,http://ok", "GATEWAY_LOG_FORMAT=xml", "GATEWAY_LOG_LEVEL=INFO",
		"GATEWAY_EXIT_WITH_PARENT=yes", "GATEWAY_OPENAPI_FILE="))
	var names []string
	for line := range strings.SplitSeq(err.Error(), "\n") {
		name, _, _ := strings.Cut(line, "=")
		names = append(names, strings.TrimPrefix(name, "GATEWAY_"))
	}
	want := "LISTEN SIDE_LISTEN OPENAPI_FILE CORS_ORIGINS CORS_ORIGINS CORS_ORIGINS LOG_FORMAT LOG_LEVEL CART_ADDRESS LOMS_ADDRESS EXIT_WITH_PARENT"
	if strings.Join(names, " ") != want || !strings.Contains(err.Error(), `GATEWAY_LOG_LEVEL="INFO": must be one of debug, info, warning, error`) {
		t.Error(err)
	}
}

func TestEveryVariableThatIsReadIsListed(t *testing.T) {
	var stdout lines
	p := program{arguments: []string{"--variables"}, stdout: &stdout}
	code := p.run(context.Background())
	listed := strings.Fields(stdout.String())
	files, _ := filepath.Glob("*.go")
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		for _, name := range regexp.MustCompile(`"((?:GATEWAY|OTEL)_[A-Z_]+)"`).FindAllStringSubmatch(string(content), -1) {
			if !slices.Contains(listed, name[1]) {
				t.Error(file, name[1])
			}
		}
	}
	if code != 0 || len(listed) < 20 {
		t.Error(code, listed)
	}
}
