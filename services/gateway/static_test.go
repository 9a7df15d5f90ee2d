package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func TestSwaggerUIIsServed(t *testing.T) {
	g := start(t, newUpstream(t).address)
	for path, page := range pages {
		got := g.ask(t, "GET", path, "")
		if got.StatusCode != 200 || got.text != "the content of "+page.file || got.Header.Get("Content-Type") != page.contentType {
			t.Errorf("%s: %d %s", path, got.StatusCode, got.text)
		}
		for name, want := range map[string]string{
			"Content-Security-Policy": contentSecurityPolicy, "X-Content-Type-Options": "nosniff",
			"Referrer-Policy": "no-referrer", "Cache-Control": "no-cache",
		} {
			if got.Header.Get(name) != want {
				t.Errorf("%s: %s: %s", path, name, got.Header.Get(name))
			}
		}
	}
	t.Run("with the document", func(t *testing.T) {
		got := g.ask(t, "GET", "/openapi.json", "")
		if got.text != `{"openapi":"3.1.0"}` || got.Header.Get("Content-Type") != "application/json" || got.Header.Get("ETag") == "" {
			t.Error(got.text, got.Header)
		}
		again := g.ask(t, "GET", "/openapi.json", "", "If-None-Match: "+got.Header.Get("ETag"))
		if again.StatusCode != 304 || again.text != "" {
			t.Error(again.StatusCode)
		}
	})
	for _, path := range []string{
		"/package.json", "/package-lock.json", "/.npmrc", "/node_modules/swagger-ui-dist/index.html", "/README.md", "/ui/", "/swagger-ui",
		"/../openapi.json", "/%2e%2e/openapi.json", "/swagger-ui.js", "/swagger-ui.css.map", "/oauth2-redirect.html", "/%2e/", "//",
	} {
		t.Run(path+" is not", func(t *testing.T) {
			if got := g.ask(t, "GET", path, ""); got.StatusCode != 404 || got.status.Code != 5 {
				t.Error(got.StatusCode, got.text)
			}
		})
	}
	for _, path := range []string{"/", "/openapi.json", "/healthz", "/swagger-ui.css"} {
		t.Run(path+" can only be read", func(t *testing.T) {
			for method, want := range map[string]int{"HEAD": 200, "OPTIONS": 204, "POST": 405, "PUT": 405, "DELETE": 405, "TRACE": 405} {
				got := g.ask(t, method, path, "")
				if got.StatusCode != want || want != 200 && got.Header.Get("Allow") != "GET, HEAD, OPTIONS" || want == 200 && got.text != "" {
					t.Error(method, got.StatusCode, got.Header, got.text)
				}
			}
		})
	}
}

func TestOurPageNeedsNothingThatIsNotServed(t *testing.T) {
	own, err := os.ReadFile(filepath.Join("..", "..", "swagger-ui", "index.html"))
	if err != nil {
		t.Fatal(err)
	}
	links := regexp.MustCompile(`(?:src|href)="([^"]*)"`).FindAllStringSubmatch(string(own), -1)
	for _, link := range links {
		if _, served := pages["/"+link[1]]; !served {
			t.Errorf("%s is not served", link[1])
		}
	}
	if len(links) != 7 || strings.Contains(string(own), "//") || strings.Contains(string(own), "<style") {
		t.Error("the page is not what the Content-Security-Policy expects")
	}
}
