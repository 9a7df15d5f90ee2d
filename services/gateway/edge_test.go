package main

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	cartv1 "marketplace/gen/go/marketplace/cart/v1"
	lomsv1 "marketplace/gen/go/marketplace/loms/v1"
)

func TestTheEdgeTakesWhatTheContractSays(t *testing.T) {
	u := newUpstream(t)
	g := start(t, u.address)
	itemAdd := &cartv1.ItemAddRequest{UserId: 1, Sku: 2, Count: 100}
	order := &lomsv1.OrderPayRequest{OrderId: 1}
	for _, c := range []struct {
		promise, method, path, body string
		want                        proto.Message
	}{
		{"an integer", "POST", "/user/1/cart/2", `{"count": 100}`, itemAdd},
		{"an integer with a fraction of zero", "POST", "/user/1/cart/2", `{"count":100.0}`, itemAdd},
		{"an integer with an exponent", "POST", "/user/1/cart/2", `{"count":1e2}`, itemAdd},
		{"an integer with spaces around", "POST", "/user/1/cart/2", " {\t\"count\" :\r\n100 } ", itemAdd},
		{"a key with escapes", "POST", "/user/1/cart/2", `{"c\u006funt":100}`, itemAdd},
		{"an escaped digit in the path", "POST", "/user/%31/cart/2", `{"count":100}`, itemAdd},
		{"64 bits as a number", "POST", "/order/pay", `{"orderId":1}`, order},
		{"64 bits as a string", "POST", "/order/pay", `{"orderId":"1"}`, order},
		{"64 bits with a fraction of zero", "POST", "/order/pay", `{"orderId":1.0}`, order},
		{"null for an absent field", "POST", "/order/pay", `{"orderId":null}`, &lomsv1.OrderPayRequest{}},
		{"a query", "GET", "/order/info?orderId=7", "", &lomsv1.OrderInfoRequest{OrderId: 7}},
		{"a binding without a body", "POST", "/checkout/7", "", &cartv1.CheckoutRequest{UserId: 7}},
		{"its query", "POST", "/checkout/7?requestId=x", "", &cartv1.CheckoutRequest{UserId: 7, RequestId: proto.String("x")}},
		{"values for the rules of the service", "POST", "/user/1/cart/0", `{"count":65536}`,
			&cartv1.ItemAddRequest{UserId: 1, Count: 65536}},
	} {
		t.Run(c.promise, func(t *testing.T) {
			got := g.ask(t, c.method, c.path, c.body)
			if got.StatusCode != 200 || !proto.Equal(u.request, c.want) {
				t.Errorf("%d %s; the service got %v", got.StatusCode, got.text, u.request)
			}
		})
	}
	t.Run("whatever the caller would like to read", func(t *testing.T) {
		got := g.ask(t, "POST", "/order/pay", `{"orderId":1}`, "Accept: application/xml")
		if got.StatusCode != 200 || got.Header.Get("Content-Type") != "application/json" {
			t.Error(got.StatusCode, got.Header)
		}
	})
}

// The negative control of strict JSON: without the call of checkJSON, 43 of these cases fail.
func TestTheEdgeRefusesWhatTheContractDoesNotSay(t *testing.T) {
	u := newUpstream(t)
	g := start(t, u.address)
	for _, c := range []struct{ promise, method, path, body, field, rule string }{
		{"64 bits with a fraction in a string", "POST", "/order/pay", `{"orderId":"1.0"}`, "order_id", "int64.type"},
		{"64 bits with a leading zero", "POST", "/order/pay", `{"orderId":"01"}`, "order_id", "int64.type"},
		{"64 bits with a plus", "POST", "/order/pay", `{"orderId":"+1"}`, "order_id", "int64.type"},
		{"64 bits with an exponent in a string", "POST", "/order/pay", `{"orderId":"1e2"}`, "order_id", "int64.type"},
		{"64 bits as an empty string", "POST", "/order/pay", `{"orderId":""}`, "order_id", "int64.type"},
		{"64 bits as a boolean", "POST", "/order/pay", `{"orderId":true}`, "order_id", "int64.type"},
		{"more than 64 bits", "POST", "/order/pay", `{"orderId":9223372036854775808}`, "order_id", "int64.range"},
		{"more than 64 bits in a string", "POST", "/order/pay", `{"orderId":"-9223372036854775809"}`, "order_id", "int64.range"},
		{"far more than 64 bits", "POST", "/order/pay", `{"orderId":1e999999999999}`, "order_id", "int64.range"},
		{"digits and an asterisk", "POST", "/order/pay", `{"orderId":"1*"}`, "order_id", "int64.type"},
		{"digits and garbage", "POST", "/order/pay", `{"orderId":"1 garbage"}`, "order_id", "int64.type"},
		{"digits and a comma", "POST", "/order/pay", `{"orderId":"1,2"}`, "order_id", "int64.type"},
		{"32 bits as a string", "POST", "/user/1/cart/2", `{"count":"1"}`, "count", "uint32.type"},
		{"32 bits as a word", "POST", "/user/1/cart/2", `{"count":"x"}`, "count", "uint32.type"},
		{"32 bits with a fraction", "POST", "/user/1/cart/2", `{"count":1.5}`, "count", "uint32.type"},
		{"32 bits below zero", "POST", "/user/1/cart/2", `{"count":-1}`, "count", "uint32.range"},
		{"more than 32 bits", "POST", "/user/1/cart/2", `{"count":4294967296}`, "count", "uint32.range"},
		{"more than 32 bits in an element", "POST", "/order/create", `{"items":[{"sku":1},{"sku":4294967296}]}`,
			"items[1].sku", "uint32.range"},
		{"null in a list", "POST", "/order/create", `{"items":[null]}`, "items[0]", "json.null"},
		{"null as the body", "POST", "/order/pay", `null`, "", "message.type"},
		{"a list as the body", "POST", "/order/pay", `[]`, "", "message.type"},
		{"an object for a list", "POST", "/order/create", `{"items":{}}`, "items", "repeated.type"},
		{"a number for a string", "POST", "/order/create", `{"requestId":1}`, "request_id", "string.type"},
		{"an unknown field", "POST", "/order/pay", `{"orderId":1,"surprise":{"a":[1,"x",null]}}`, "surprise", "json.unknown_field"},
		{"an unknown field of an element", "POST", "/order/create", `{"items":[{"x":1}]}`, "items[0].x", "json.unknown_field"},
		{"the name of the .proto", "POST", "/order/pay", `{"order_id":1}`, "order_id", "json.unknown_field"},
		{"a field that the path holds", "POST", "/user/1/cart/2", `{"count":1,"sku":2}`, "sku", "json.unknown_field"},
		{"a word behind the value", "POST", "/order/pay", `{"orderId":1} trailing`, "", "json.trailing_data"},
		{"a second value", "POST", "/order/pay", `{"orderId":1}{"orderId":2}`, "", "json.trailing_data"},
		{"a key given twice", "POST", "/order/pay", `{"orderId":1,"orderId":1}`, "order_id", "json.duplicate_key"},
		{"a key given twice in two spellings", "POST", "/order/pay", `{"orderId":1,"order\u0049d":1}`, "order_id", "json.duplicate_key"},
		{"NaN", "POST", "/user/1/cart/2", `{"count":NaN}`, "count", "json.syntax"},
		{"a leading zero", "POST", "/user/1/cart/2", `{"count":01}`, "", "json.syntax"},
		{"a comma too many", "POST", "/user/1/cart/2", `{"count":1,}`, "", "json.syntax"},
		{"half a body", "POST", "/user/1/cart/2", `{"count":`, "count", "json.syntax"},
		{"a control character", "POST", "/order/create", "{\"requestId\":\"\x01\"}", "request_id", "json.syntax"},
		{"bad UTF-8", "POST", "/order/create", "{\"requestId\":\"\xff\"}", "request_id", "json.utf8"},
		{"a lone surrogate", "POST", "/order/create", `{"requestId":"\ud800"}`, "request_id", "json.surrogate"},
		{"surrogates in the wrong order", "POST", "/order/create", `{"requestId":"\udc00\ud800"}`, "request_id", "json.surrogate"},
		{"no body", "POST", "/order/pay", "", "", "json.empty"},
		{"a body of spaces", "POST", "/order/pay", " \n ", "", "json.empty"},
		{"a body where none is declared", "POST", "/checkout/1", "{}", "", "body.unexpected"},
		{"a body of a GET", "GET", "/order/info?orderId=1", "{}", "", "body.unexpected"},
		{"a body of a DELETE", "DELETE", "/user/1/cart", "{}", "", "body.unexpected"},

		{"a scalar given twice", "GET", "/order/info?orderId=1&orderId=1", "", "order_id", "query.repeated"},
		{"a list for a scalar", "GET", "/order/info?orderId=1,2", "", "order_id", "int64.type"},
		{"an empty number", "GET", "/order/info?orderId=", "", "order_id", "int64.type"},
		{"a number that is none", "GET", "/stock/info?sku=abc", "", "sku", "uint32.type"},
		{"a number with a fraction of zero", "GET", "/stock/info?sku=1.0", "", "sku", "uint32.type"},
		{"a number out of range", "GET", "/stock/info?sku=4294967296", "", "sku", "uint32.range"},
		{"a number with a plus", "GET", "/stock/info?sku=%2B1", "", "sku", "uint32.type"},
		{"a bad escape", "GET", "/order/info?orderId=%zz", "", "order_id", "query.syntax"},
		{"a bad escape in a name", "GET", "/order/info?%zz=1", "", "", "query.syntax"},
		{"a semicolon", "GET", "/order/info?orderId=1;orderId=2", "", "", "query.syntax"},
		{"an unknown parameter", "GET", "/order/info?orderId=1&debug=1", "", "debug", "query.unknown"},
		{"the parameter's name of the .proto", "GET", "/order/info?order_id=1", "", "order_id", "query.unknown"},
		{"a parameter that the path holds", "GET", "/product/1?sku=2", "", "sku", "query.unknown"},
		{"a parameter in brackets", "GET", "/order/info?orderId[x]=1", "", "orderId[x]", "query.unknown"},
		{"a query beside a body", "POST", "/order/pay?orderId=1", `{"orderId":1}`, "orderId", "query.unknown"},
		{"a string that is not UTF-8", "POST", "/checkout/1?requestId=%ff", "", "request_id", "string.utf8"},

		{"a hexadecimal path", "GET", "/product/0x1", "", "sku", "uint32.type"},
		{"an octal path", "GET", "/product/010", "", "sku", "uint32.type"},
		{"a path with an underscore", "GET", "/product/1_0", "", "sku", "uint32.type"},
		{"a path with a plus", "GET", "/product/+1", "", "sku", "uint32.type"},
		{"a path below zero", "GET", "/product/-1", "", "sku", "uint32.range"},
		{"a path out of range", "GET", "/product/4294967296", "", "sku", "uint32.range"},
		{"a path that is no number", "GET", "/user/me/cart", "", "user_id", "int64.type"},
	} {
		t.Run(c.promise, func(t *testing.T) {
			before := u.calls
			if got := g.ask(t, c.method, c.path, c.body); !got.names(c.field, c.rule) || u.calls != before {
				t.Errorf("%d %s (%d calls)", got.StatusCode, got.text, u.calls-before)
			}
		})
	}
	t.Run("all at once, in the order in which they stand", func(t *testing.T) {
		got := g.ask(t, "POST", "/user/x/cart/0x1?a=1", `{"count":-1,"b":null}`)
		want := []string{"user_id int64.type", "sku uint32.type", "a query.unknown", "count uint32.range", "b json.unknown_field"}
		var all []string
		for _, v := range got.status.Details[0].FieldViolations {
			all = append(all, v.Field+" "+v.Reason)
		}
		if strings.Join(all, ", ") != strings.Join(want, ", ") {
			t.Error(all)
		}
	})
}

// The negative control of 405 and Allow: with the 501 of grpc-gateway in refuseMethod this fails.
func TestTheEdgeKnowsPathsAndMethods(t *testing.T) {
	u := newUpstream(t)
	g := start(t, u.address)
	for _, path := range []string{
		"/nowhere", "/order", "/order/", "/order/info/", "//order/info", "/order//info", "/order%2Finfo", "/user/1%2F2/cart",
		"/user//cart", "/order/info.json", "/ORDER/INFO", "/order/../order/info", "/product/", "/marketplace.loms.v1.LomsService/OrderInfo",
	} {
		t.Run(path+" is not found", func(t *testing.T) {
			if got := g.ask(t, "GET", path, ""); got.StatusCode != 404 || got.status.Code != 5 || got.status.Message == "" {
				t.Error(got.StatusCode, got.text)
			}
		})
	}
	for path, allow := range map[string]string{
		"/order/info":    "GET, OPTIONS",
		"/order/pay":     "OPTIONS, POST",
		"/user/1/cart":   "DELETE, GET, OPTIONS",
		"/user/1/cart/2": "DELETE, OPTIONS, POST",
		"/user/me/cart":  "DELETE, GET, OPTIONS",
	} {
		for _, method := range []string{"PUT", "PATCH", "TRACE", "HEAD", "QUERY", "get"} {
			t.Run(method+" "+path+" is not allowed", func(t *testing.T) {
				got := g.ask(t, method, path, "")
				if got.StatusCode != 405 || got.Header.Get("Allow") != allow || method != "HEAD" && got.status.Code != 12 {
					t.Error(got.StatusCode, got.Header, got.text)
				}
			})
		}
		t.Run("OPTIONS "+path+" tells the methods", func(t *testing.T) {
			if got := g.ask(t, "OPTIONS", path, ""); got.StatusCode != 204 || got.Header.Get("Allow") != allow || got.text != "" {
				t.Error(got.StatusCode, got.Header, got.text)
			}
		})
	}
	if u.calls != 0 {
		t.Errorf("the services got %d calls", u.calls)
	}
}

func TestTheEdgeTakesOnlyJSON(t *testing.T) {
	u := newUpstream(t)
	g := start(t, u.address)
	for contentType, want := range map[string]int{
		"application/json":                    200,
		"application/json; charset=utf-8":     200,
		"Application/JSON;charset=\"UTF-8\"":  200,
		"application/json; charset=latin1":    415,
		"application/json, text/plain":        415,
		"text/plain":                          415,
		"application/x-www-form-urlencoded":   415,
		"application/grpc":                    415,
		"application/problem+json":            415,
		"":                                    415,
		";":                                   415,
		"application/json; charset=utf-8; =;": 415,
	} {
		t.Run("and of the type "+contentType+" as said", func(t *testing.T) {
			got := g.ask(t, "POST", "/order/pay", `{"orderId":1}`, "Content-Type: "+contentType)
			if got.StatusCode != want || want == 415 && got.status.Message == "" {
				t.Error(got.StatusCode, got.text)
			}
		})
	}
	t.Run("once", func(t *testing.T) {
		got := g.ask(t, "POST", "/order/pay", `{}`, "Content-Type: application/json", "content-type: text/plain")
		if got.StatusCode != 415 {
			t.Error(got.StatusCode)
		}
	})
	t.Run("not compressed", func(t *testing.T) {
		if got := g.ask(t, "POST", "/order/pay", `{}`, "Content-Encoding: gzip"); got.StatusCode != 415 {
			t.Error(got.StatusCode)
		}
	})
	t.Run("whatever method the headers ask for", func(t *testing.T) {
		got := g.ask(t, "POST", "/order/pay", "orderId=1", "X-HTTP-Method-Override: GET", "Content-Type: application/x-www-form-urlencoded")
		if got.StatusCode != 415 {
			t.Error(got.StatusCode)
		}
		got = g.ask(t, "POST", "/order/info", "orderId=1", "X-HTTP-Method-Override: GET", "Content-Type: application/x-www-form-urlencoded")
		if got.StatusCode != 405 {
			t.Error(got.StatusCode)
		}
	})
}

func TestTheEdgeSaysWhatToWriteInstead(t *testing.T) {
	g := start(t, newUpstream(t).address)
	for _, c := range []struct{ promise, method, path, body, want string }{
		{"of a field in the spelling of the .proto", "POST", "/order/pay", `{"order_id":1}`,
			"order_id: there is no such field: in JSON its name is orderId"},
		{"of a nested one", "POST", "/order/create", `{"requestId":"x","items":[{"sku":1},{"sku":2,"user_id":1}]}`,
			"items[1].user_id: there is no such field"},
		{"of a field that nobody has", "POST", "/order/pay", `{"userId":1}`, "userId: there is no such field"},
		{"of a field in the path", "POST", "/user/1/cart/2", `{"userId":1}`,
			"userId: there is no such field in the body: the path holds it"},
		{"of a field in the path in the spelling of the .proto", "POST", "/user/1/cart/2", `{"user_id":1}`,
			"user_id: there is no such field in the body: the path holds it"},
		{"of a parameter in the spelling of the .proto", "GET", "/order/info?order_id=1", "",
			"order_id: there is no such parameter: its name is orderId"},
		{"of a parameter that nobody has", "GET", "/order/info?user_id=1", "", "user_id: there is no such parameter"},
		{"of text behind the value", "POST", "/order/pay", `{"orderId":1} trailing`,
			"unexpected text after the JSON value, at byte 14"},
	} {
		t.Run(c.promise, func(t *testing.T) {
			if got := g.ask(t, c.method, c.path, c.body); got.StatusCode != 400 || got.status.Message != c.want {
				t.Error(got.StatusCode, got.text)
			}
		})
	}
}
