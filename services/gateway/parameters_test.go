package main

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"
)

func TestParametersOfKindsThatTheContractMayGet(t *testing.T) {
	r := &route{query: map[string]protoreflect.FieldDescriptor{}}
	fields := everything(t, "Request").Fields()
	for i := range fields.Len() {
		r.query[fields.Get(i).JSONName()] = fields.Get(i)
	}
	for query, want := range map[string]string{
		"someUint32=1&someUint32=2": "", "someUint32=1,2": "some_uint32 uint32.type", "someUint32=": "some_uint32 uint32.type",
		"status=OLD": "", "status=1": "status enum.type", "status=old": "status enum.type", "status=": "status enum.type",
		"aBool=true": "", "aBool=1": "a_bool bool.type", "aString=": "", "aString=%C3%A9": "", "moment=": "moment message.type",
		"aSint32=-2147483648&aInt32=2147483647&aUint64=18446744073709551615": "",
		"aSint32=-2147483649": "a_sint32 sint32.range", "aUint64=18446744073709551616": "a_uint64 uint64.range", "&&": "",
		"aInt32=1&aInt32=2&a%5fint32=3&x": "a_int32 query.repeated, a_int32 query.unknown, x query.unknown",
	} {
		var found violations
		r.checkQuery(query, &found)
		var all []string
		for _, v := range found {
			all = append(all, v.GetField()+" "+v.GetReason())
		}
		if got := strings.Join(all, ", "); got != want {
			t.Errorf("%s: %s", query, got)
		}
	}
}
