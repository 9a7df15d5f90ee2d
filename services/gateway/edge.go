package main

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
)

// edge lets nothing through to grpc-gateway but requests that fit the contract,
// because grpc-gateway guesses where it could refuse.
func (c *contract) edge(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		x := exchangeOf(r.Context())
		found, parts, others := c.routes.find(r.Method, r.URL.EscapedPath())
		if found == nil && others == nil {
			refuse(w, http.StatusNotFound, codes.NotFound, "there is nothing at this path")
			return
		}
		if found == nil {
			x.route = others[0].template
			refuseMethod(w, r, others)
			return
		}
		x.route = found.template
		body, refusal := found.check(w, r, x, parts)
		if refusal != nil {
			writeError(w, refusal.httpStatus, refusal.status)
			return
		}
		// What services may see of the headers is in the exchange. grpc-gateway
		// gets none of them, and no peer, as it would act on some and pass on others.
		checked := r.WithContext(r.Context())
		checked.Header, checked.Host, checked.RemoteAddr = http.Header{}, "", ""
		checked.Body = newCheckedBody(body)
		next.ServeHTTP(w, checked)
	})
}

// check refuses a request, or gives its body.
func (r *route) check(w http.ResponseWriter, request *http.Request, x *exchange, parts []string) ([]byte, *refusal) {
	if refusal := readHeaders(request.Header, x); refusal != nil {
		return nil, refusal
	}
	var found violations
	var body []byte
	var refusal *refusal
	if r.body {
		body, refusal = readBody(w, request)
	} else {
		refusal = refuseBody(request, &found)
	}
	if refusal != nil {
		return nil, refusal
	}
	// All is read. Were the time limit for reading left on, net/http would cancel
	// the call when it passes.
	_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
	r.checkPath(parts, &found)
	if request.URL.RawQuery != "" {
		r.checkQuery(request.URL.RawQuery, &found)
	}
	if r.body {
		checkJSON(body, r.input, r.bound, &found)
	}
	if len(found) > 0 {
		return nil, badRequest(found)
	}
	return body, nil
}

func refuseMethod(w http.ResponseWriter, r *http.Request, others []*route) {
	allowed := []string{http.MethodOptions}
	for _, other := range others {
		allowed = append(allowed, other.method)
	}
	slices.Sort(allowed)
	notAllowed(w, r, slices.Compact(allowed))
}

// notAllowed answers OPTIONS, and the methods that a path does not have.
func notAllowed(w http.ResponseWriter, r *http.Request, allowed []string) {
	w.Header().Set("Allow", strings.Join(allowed, ", "))
	if r.Method == http.MethodOptions {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	refuse(w, http.StatusMethodNotAllowed, codes.Unimplemented, "this path has only %s", strings.Join(allowed, ", "))
}
