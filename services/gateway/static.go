package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// pages are the files of Swagger UI by their path. Nothing but these is read, so
// nothing else of their folders can be reached.
var pages = map[string]struct{ file, contentType string }{
	"/":                                {"index.html", "text/html; charset=utf-8"},
	"/index.html":                      {"index.html", "text/html; charset=utf-8"},
	"/swagger-initializer.js":          {"swagger-initializer.js", "text/javascript; charset=utf-8"},
	"/index.css":                       {inPackage + "index.css", "text/css; charset=utf-8"},
	"/swagger-ui.css":                  {inPackage + "swagger-ui.css", "text/css; charset=utf-8"},
	"/swagger-ui-bundle.js":            {inPackage + "swagger-ui-bundle.js", "text/javascript; charset=utf-8"},
	"/swagger-ui-standalone-preset.js": {inPackage + "swagger-ui-standalone-preset.js", "text/javascript; charset=utf-8"},
	"/favicon-16x16.png":               {inPackage + "favicon-16x16.png", "image/png"},
	"/favicon-32x32.png":               {inPackage + "favicon-32x32.png", "image/png"},
}

const inPackage = "node_modules/swagger-ui-dist/"

// What the page may load: its own files, the images that are in its style sheet,
// and the inline styles without which Swagger UI does not fold.
const contentSecurityPolicy = "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; " +
	"base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'"

// asset is a file, read once.
type asset struct {
	content           []byte
	contentType, etag string
}

func readAsset(file, contentType string) (asset, error) {
	content, err := os.ReadFile(file)
	if err != nil {
		return asset{}, fmt.Errorf("%s cannot be read", file)
	}
	sum := sha256.Sum256(content)
	return asset{content, contentType, `"` + hex.EncodeToString(sum[:16]) + `"`}, nil
}

// ServeHTTP lets browsers keep the file, but ask whether it is still the same.
func (a asset) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	header.Set("Content-Type", a.contentType)
	header.Set("Content-Security-Policy", contentSecurityPolicy)
	header.Set("Referrer-Policy", "no-referrer")
	header.Set("Cache-Control", "no-cache")
	header.Set("ETag", a.etag)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(a.content))
}

// readPages gives the handlers of Swagger UI and of the OpenAPI document. When
// pages are missing, the first of them is enough to know.
func readPages(uiDir, openAPIFile string) (map[string]http.Handler, error) {
	handlers := map[string]http.Handler{}
	document, errDocument := readAsset(openAPIFile, "application/json")
	if errDocument != nil {
		errDocument = fmt.Errorf("%w: run `make generate` or set GATEWAY_OPENAPI_FILE", errDocument)
	}
	handlers["/openapi.json"] = document
	for _, path := range slices.Sorted(maps.Keys(pages)) {
		page, err := readAsset(filepath.Join(uiDir, pages[path].file), pages[path].contentType)
		if err != nil {
			return nil, errors.Join(errDocument, fmt.Errorf("%w: run `make setup` or set GATEWAY_UI_DIR", err))
		}
		handlers[path] = page
	}
	return handlers, errDocument
}

// fixed serves the paths that are not of the contract, and gives the rest to next.
func fixed(handlers map[string]http.Handler, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		handler := handlers[r.URL.EscapedPath()]
		if handler == nil {
			next.ServeHTTP(w, r)
			return
		}
		exchangeOf(r.Context()).route = r.URL.Path
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			notAllowed(w, r, []string{http.MethodGet, http.MethodHead, http.MethodOptions})
			return
		}
		handler.ServeHTTP(w, r)
	})
}
