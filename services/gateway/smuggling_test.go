package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// The ways to a service: what a request to it asks for, its id and a body.
const (
	stock   = "GET /stock/info?sku=1 HTTP/1.1"
	pay     = "POST /order/pay HTTP/1.1"
	id      = "X-Request-Id: r"
	seenID  = "x-request-id: r"
	chunked = "Transfer-Encoding: chunked"
	asJSON  = "Content-Type: application/json"
	last    = "GET /nowhere HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
	hidden  = "GET /stock/info?sku=9 HTTP/1.1\r\nHost: a\r\n\r\n"
)

// raw is a request of these lines, as they stand.
func raw(lines ...string) string {
	return strings.Join(lines, "\r\n") + "\r\n\r\n"
}

// asked is a request for the stock with these headers.
func asked(headers ...string) string {
	return raw(append([]string{stock, "Host: a", id}, headers...)...)
}

// target is a request with this first line.
func target(line string) string {
	return raw(line, "Host: a", id)
}

// payment is a request to pay order 1.
func payment(headers ...string) string {
	return raw(append([]string{pay, "Host: a", id, asJSON}, headers...)...)
}

// exchanged sends a request and one more behind it, which is answered with a
// 404: the statuses of all answers on the connection. An answer more than two is
// that of a request that was hidden in another one.
func (s *started) exchanged(t testing.TB, request string) string {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(conn, request+last); err != nil {
		t.Fatal(err)
	}
	var statuses []string
	for answers := bufio.NewReader(conn); ; {
		answer, err := http.ReadResponse(answers, nil)
		if err == io.ErrUnexpectedEOF {
			return strings.Join(statuses, " ")
		}
		if err == nil {
			_, err = io.Copy(io.Discard, answer.Body)
		}
		if err != nil {
			t.Fatal(statuses, err)
		}
		statuses = append(statuses, fmt.Sprint(answer.StatusCode))
	}
}

// metadata is all that the last call brought, less what gRPC itself says.
func (u *upstream) metadata() string {
	var lines []string
	for _, name := range u.seen() {
		for _, value := range u.header.Get(name) {
			lines = append(lines, name+": "+value)
		}
	}
	return strings.Join(lines, ", ")
}

// What is smuggled neither reaches a service as metadata or as another request,
// nor changes the request that it comes with.
func TestNothingIsSmuggledIntoACall(t *testing.T) {
	const ok, seesToken = "200 404", "authorization: Bearer a, " + seenID
	token := "Authorization: Bearer a"
	for promise, c := range map[string]struct{ request, answers, seen string }{
		// Metadata and deadlines of gRPC.
		"metadata by prefix":            {asked("Grpc-Metadata-X-User-Id: 1"), ok, seenID},
		"a token by prefix":             {asked("Grpc-Metadata-Authorization: Bearer x"), ok, seenID},
		"a token by prefix beside one":  {asked(token, "Grpc-Metadata-Authorization: Bearer x"), ok, seesToken},
		"a request id by prefix":        {asked("Grpc-Metadata-X-Request-Id: other"), ok, seenID},
		"a token of the gateway":        {asked("Grpcgateway-Authorization: Bearer x"), ok, seenID},
		"an enormous deadline":          {asked("Grpc-Timeout: 99999999H"), ok, seenID},
		"a short deadline":              {asked("Grpc-Timeout: 1n"), ok, seenID},
		"a negative deadline":           {asked("Grpc-Timeout: -1S"), ok, seenID},
		"a compression of gRPC":         {asked("Grpc-Encoding: gzip", "Grpc-Accept-Encoding: gzip"), ok, seenID},
		"binary metadata":               {asked("X-Data-Bin: AAAA"), ok, seenID},
		"binary metadata by prefix":     {asked("Grpc-Metadata-X-Bin: !"), ok, seenID},
		"a status of gRPC":              {asked("Grpc-Status: 0", "Grpc-Status-Details-Bin: AAAA"), ok, seenID},
		"a trace in binary":             {asked("Grpc-Trace-Bin: AAAA"), ok, seenID},
		"a pseudo-header":               {asked(":authority: evil"), "400", ""},
		"a pseudo-header by prefix":     {asked("Grpc-Metadata-:path: /evil"), ok, seenID},
		"the content type of gRPC":      {asked("Content-Type: application/grpc"), ok, seenID},
		"a name with underscores":       {asked("X_USER_ID: 1", "AUTHORIZATION_: Bearer x", "GRPC_METADATA_X: 1"), ok, seenID},
		"a name in another case":        {asked("aUTHORIZATION: Bearer a"), ok, seesToken},
		"a name with a space behind":    {asked("Authorization : Bearer x"), "400", ""},
		"a name with a space before":    {raw(stock, " Authorization: Bearer x", "Host: a", id), "400", ""},
		"a user id":                     {asked("X-User-Id: 1", "X-Authenticated-User: 1", "X-Internal: secret"), ok, seenID},
		"a cookie":                      {asked("Cookie: authorization=x"), ok, seenID},
		"a token of a proxy":            {asked("Proxy-Authorization: Bearer x"), ok, seenID},
		"two tokens":                    {asked(token, "Authorization: Bearer b"), "401 404", ""},
		"two tokens in different cases": {asked(token, "authorization: Bearer b"), "401 404", ""},
		"a token that is hop by hop":    {asked(token, "Connection: authorization"), ok, seesToken},
		"a request id that is not ours": {asked("Connection: x-request-id"), ok, seenID},
		// Ends of lines.
		"a CR in a value":          {asked("Authorization: Bearer a\rX-User-Id: 1"), "400", ""},
		"an LF in a value":         {asked("Authorization: Bearer a\nX-User-Id: 1"), ok, seesToken},
		"a NUL in a value":         {asked("Authorization: Bearer a\x00b"), "400", ""},
		"an escaped end of a line": {asked("Authorization: Bearer a%0d%0aX-User-Id: 1"), ok, "authorization: Bearer a%0d%0aX-User-Id: 1, " + seenID},
		"a value on two lines":     {asked("Authorization: Bearer", " a"), ok, seesToken},
		"an end of a line in the path": {
			target("GET /stock/info%0d%0aX-User-Id:%201?sku=1 HTTP/1.1"), "404 404", "",
		},
		// Methods.
		"another method in a header":            {raw("POST /user/1/cart HTTP/1.1", "Host: a", id, "X-HTTP-Method-Override: DELETE", "Content-Length: 0"), "405 404", ""},
		"another method in a header of a GET":   {asked("X-HTTP-Method-Override: POST", "X-HTTP-Method: POST", "X-Method-Override: POST"), ok, seenID},
		"another method in the query":           {target("POST /user/1/cart?_method=DELETE HTTP/1.1"), "405 404", ""},
		"another method in a form":              {raw("POST /user/1/cart HTTP/1.1", "Host: a", id, "Content-Type: application/x-www-form-urlencoded", "Content-Length: 14") + "_method=DELETE", "405 404", ""},
		"a GET as a form":                       {raw("POST /stock/info HTTP/1.1", "Host: a", id, "Content-Type: application/x-www-form-urlencoded", "Content-Length: 5") + "sku=1", "405 404", ""},
		"a form where JSON belongs":             {raw(pay, "Host: a", id, "Content-Type: application/x-www-form-urlencoded", "Content-Length: 9") + "orderId=1", "415 404", ""},
		"a method in lower case":                {target("get /stock/info?sku=1 HTTP/1.1"), "405 404", ""},
		"the method of a proxy":                 {target("CONNECT /stock/info?sku=1 HTTP/1.1"), "405 404", ""},
		"the first line of HTTP/2":              {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "404", ""},
		"a version that does not exist":         {target("GET /stock/info?sku=1 HTTP/9.9"), "505", ""},
		"a first line with a space too many":    {target("GET /stock/info?sku=1 x HTTP/1.1"), "400", ""},
		"a first line without a version":        {target("GET /stock/info?sku=1"), "400", ""},
		"a tab in the first line":               {target("GET\t/stock/info?sku=1 HTTP/1.1"), "400", ""},
		"an end of a line before the first one": {"\r\n" + asked(), "400", ""},
		// Hosts and proxies.
		"the address of a proxy": {asked("X-Forwarded-For: 1.2.3.4", "X-Forwarded-Host: evil", "X-Forwarded-Proto: https", "X-Real-Ip: 1.2.3.4", "Forwarded: for=1", "Via: x"), ok, seenID},
		"another address":        {asked("X-Original-URL: /order/pay", "X-Rewrite-URL: /order/pay"), ok, seenID},
		"a host with a path":     {raw(stock, "Host: a/evil", id), "400", ""},
		"a host with a user":     {raw(stock, "Host: x@a", id), "400", ""},
		"two hosts":              {raw(stock, "Host: a", "Host: b", id), "400", ""},
		"no host":                {raw(stock, id), "400", ""},
		"an absolute target":     {target("GET http://evil/stock/info?sku=1 HTTP/1.1"), ok, seenID},
		// Paths and queries.
		"an escaped slash":             {target("GET /stock%2Finfo?sku=1 HTTP/1.1"), "404 404", ""},
		"a slash escaped twice":        {target("GET /stock%252Finfo?sku=1 HTTP/1.1"), "404 404", ""},
		"two slashes":                  {target("GET //stock/info?sku=1 HTTP/1.1"), "404 404", ""},
		"two slashes within":           {target("GET /stock//info?sku=1 HTTP/1.1"), "404 404", ""},
		"a slash at the end":           {target("GET /stock/info/?sku=1 HTTP/1.1"), "404 404", ""},
		"a way up":                     {target("GET /x/../stock/info?sku=1 HTTP/1.1"), "404 404", ""},
		"an escaped way up":            {target("GET /x/%2e%2e/stock/info?sku=1 HTTP/1.1"), "404 404", ""},
		"a way to the same place":      {target("GET /stock/./info?sku=1 HTTP/1.1"), "404 404", ""},
		"a parameter of a segment":     {target("GET /stock/info;x=1?sku=1 HTTP/1.1"), "404 404", ""},
		"a backslash":                  {target(`GET /stock\info?sku=1 HTTP/1.1`), "404 404", ""},
		"an escaped NUL":               {target("GET /stock/info%00?sku=1 HTTP/1.1"), "404 404", ""},
		"an escaped NUL in a variable": {raw("DELETE /user/1%00/cart HTTP/1.1", "Host: a", id), "400 404", ""},
		"a field behind a semicolon":   {target("GET /stock/info?sku=1;sku=9 HTTP/1.1"), "400 404", ""},
		"a field twice":                {target("GET /stock/info?sku=1&sku=9 HTTP/1.1"), "400 404", ""},
		"the name of an RPC": {
			raw("POST /marketplace.loms.v1.LomsService/StocksInfo HTTP/1.1", "Host: a", id, "Content-Type: application/grpc", "Content-Length: 0"), "404 404", "",
		},
		// Framing.
		"two lengths":                        {payment("Content-Length: 13", "Content-Length: 60") + `{"orderId":1}` + hidden, "400", ""},
		"a length with a sign":               {payment("Content-Length: +13") + `{"orderId":1}`, "400", ""},
		"a list of lengths":                  {payment("Content-Length: 13, 13") + `{"orderId":1}`, "400", ""},
		"a length that is too short":         {payment("Content-Length: 5") + `{"orderId":1}`, "400 400", ""},
		"a request in the body of a GET":     {asked(fmt.Sprintf("Content-Length: %d", len(hidden))) + hidden, "400 404", ""},
		"a length beside chunks":             {payment("Content-Length: 4", chunked) + "d\r\n" + `{"orderId":1}` + "\r\n0\r\n\r\n", ok, seenID},
		"chunks beside a length":             {payment(chunked, "Content-Length: 60") + "d\r\n" + `{"orderId":1}` + "\r\n0\r\n\r\n", ok, seenID},
		"chunks twice":                       {payment(chunked, chunked) + "0\r\n\r\n" + hidden, "501", ""},
		"a coding beside chunks":             {payment("Transfer-Encoding: gzip, chunked") + "0\r\n\r\n" + hidden, "501", ""},
		"a coding that hides chunks":         {payment("Transfer-Encoding: xchunked") + "0\r\n\r\n" + hidden, "501", ""},
		"a coding with a strange space":      {payment("Transfer-Encoding:\vchunked") + "0\r\n\r\n" + hidden, "400", ""},
		"a name of a coding with a space":    {payment("Transfer-Encoding : chunked") + "0\r\n\r\n" + hidden, "400", ""},
		"chunks of HTTP/1.0":                 {raw("POST /order/pay HTTP/1.0", "Host: a", id, asJSON, chunked) + "0\r\n\r\n" + hidden, "400", ""},
		"a chunk whose size has a sign":      {payment(chunked) + "+d\r\n" + `{"orderId":1}` + "\r\n0\r\n\r\n", "400", ""},
		"a chunk that ends with an LF alone": {payment(chunked) + "d\n" + `{"orderId":1}` + "\r\n0\r\n\r\n", "400", ""},
		"a token behind the body": {
			payment(chunked, "Trailer: Authorization") + "d\r\n" + `{"orderId":1}` + "\r\n0\r\nAuthorization: Bearer x\r\n\r\n", ok, seenID,
		},
		"a token behind the body that is not announced": {
			payment(chunked) + "d\r\n" + `{"orderId":1}` + "\r\n0\r\nGrpc-Metadata-X: 1\r\n\r\n", ok, seenID,
		},
		"trailers":                       {asked("Te: trailers", "Connection: te"), ok, seenID},
		"an upgrade to HTTP/2":           {asked("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA"), ok, seenID},
		"an upgrade to a socket":         {asked("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"), ok, seenID},
		"a wish to go on":                {payment("Expect: 100-continue", "Content-Length: 13") + `{"orderId":1}`, "100 200 404", seenID},
		"a wish that nobody understands": {asked("Expect: evil"), "417", ""},
	} {
		t.Run(promise, func(t *testing.T) {
			u := newUpstream(t)
			g := start(t, u.address)
			if answers := g.exchanged(t, c.request); answers != c.answers {
				t.Errorf("answered %s and not %s", answers, c.answers)
			}
			if got := u.metadata(); got != c.seen {
				t.Errorf("the service saw %q and not %q", got, c.seen)
			}
			u.checkUntouched(t, c.seen != "")
		})
	}
}

// checkUntouched looks whether at most one call came, as it was asked for, with
// our deadline and from gRPC itself.
func (u *upstream) checkUntouched(t testing.TB, called bool) {
	t.Helper()
	if !called {
		if u.calls != 0 {
			t.Errorf("a service was called: %v", u.request)
		}
		return
	}
	if said := strings.ReplaceAll(fmt.Sprint(u.request), " ", ""); u.calls != 1 || !slices.Contains([]string{"sku:1", "order_id:1"}, said) {
		t.Errorf("%d calls, the last one %s", u.calls, said)
	}
	if u.left < 4*time.Second || u.left > 5*time.Second {
		t.Errorf("the call had %s", u.left)
	}
	for name, prefix := range map[string]string{":authority": u.address, "content-type": "application/grpc", "user-agent": "grpc-go/"} {
		if got := u.header.Get(name); len(got) != 1 || !strings.HasPrefix(got[0], prefix) {
			t.Errorf("%s: %q", name, got)
		}
	}
}
