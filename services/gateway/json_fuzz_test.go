package main

import (
	"encoding/json"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/dynamicpb"
)

var bodies = []string{
	``, ` `, `{}`, `null`, `[]`, `{"aInt32":1}`, `{"aInt32":1.0,"aUint32":-0,"aInt64":"-1","aUint64":"18446744073709551615"}`,
	`{"aInt32":100e-2}`, `{"aInt32":0.1e1}`, `{"aInt32":0.01e2,"aUint32":1E+2}`, `{"aInt32":1e20}`, `{"aInt32":0e9999999999}`,
	`{"aInt64":0.00000000000000000000001e23}`, `{"aInt64":1000000000000000000000e-20}`, `{"aInt64":1e-99999999999999999999}`,
	`{"aInt64":1e99999999999999999999}`, `{"aInt64":1.5e0}`, `{"aInt64":12e-1}`, `{"aInt64":-0.0}`, `{"aUint64":-0e5}`,
	`{"someInt32":[1,2,3]}`, `{"someInt32":[1,]}`, `{"someInt32":null,"someString":["a","\ud83d\ude00","\u00e9é"]}`,
	`{"child":{"child":{"aString":"x"}},"children":[{},{"aBool":true}]}`, `{"children":[null]}`, `{"child":null,"child":{}}`,
	`{"a_int32":1}`, `{"aString":"\ud800"}`, "{\"aString\":\"\xff\"}", "{\"aString\":\"\t\"}", `{"aString":"\/\b\f\n\r\t\"\\"}`,
	`{"aString":"\u00zz"}`, `{"aString":"\x"}`, `{"aString":"`, `{"aBool":truex}`, `{"aBool":nul}`, `{"aInt32":1} x`, `{"aInt32":1}}`,
	`{"aInt32":-}`, `{"aInt32":1.}`, `{"aInt32":.5}`, `{"aInt32":1e}`, `{"aInt32":1e+}`, `{"aInt32":01}`, `{"x":[{"y":[]}]}`,
	"\xef\xbb\xbf{}", "{}\x00", `{"aInt32" 1}`, `{aInt32:1}`, `{"":1}`, `{"[t.x]":1}`, `{"@type":1}`, `{"aInt64":"-0"}`, `{"aInt64":" 1"}`,
	`{"sizes":{"a":1,"b":2}}`, `{"sizes":{"a":1,"\u0061":2}}`, `{"sizes":{"a":null}}`, `{"sizes":[]}`, `{"sizes":{"":0}}`,
}

// What the check lets through must be what protojson takes: there is nobody
// behind it who would name the field.
func FuzzWhatTheCheckTakesProtojsonTakes(f *testing.F) {
	for _, body := range bodies {
		f.Add([]byte(body))
	}
	of := everything(f, "Checked")
	f.Fuzz(func(t *testing.T, body []byte) {
		var found violations
		checkJSON(body, of, nil, &found)
		if err := protojson.Unmarshal(body, dynamicpb.NewMessage(of)); len(found) == 0 && err != nil {
			t.Errorf("%q: %v", body, err)
		}
		if len(found) == 0 && !json.Valid(body) {
			t.Errorf("not JSON: %q", body)
		}
		for _, v := range found {
			if v.GetReason() == "" || v.GetDescription() == "" {
				t.Errorf("%v does not say what is wrong", v)
			}
		}
	})
}
