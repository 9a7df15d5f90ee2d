package main

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/known/durationpb"

	chassisv1 "marketplace/gen/go/chassis/v1"
)

// contractOf makes a contract of one RPC. Its request has a message, a map, a
// string and a number.
func contractOf(t *testing.T, said *chassisv1.MethodPolicy, rule *annotations.HttpRule) (*contract, error) {
	t.Helper()
	options := &descriptorpb.MethodOptions{}
	if said != nil {
		proto.SetExtension(options, chassisv1.E_Method, said)
	}
	proto.SetExtension(options, annotations.E_Http, rule)
	file := fileOfEverything()
	file.Service = []*descriptorpb.ServiceDescriptorProto{{Name: proto.String("S"), Method: []*descriptorpb.MethodDescriptorProto{
		{Name: proto.String("M"), InputType: proto.String(".t.Request"), OutputType: proto.String(".t.Request"), Options: options},
	}}}
	built, err := protodesc.NewFile(file, protoregistry.GlobalFiles)
	if err != nil {
		t.Fatal(err)
	}
	return readContract(built)
}

// fileOfEverything has a message with fields of the kinds that matter, which the
// contract of the marketplace has not, and one with those that the edge checks
// alone.
func fileOfEverything() *descriptorpb.FileDescriptorProto {
	checked, request := messageOf("Checked"), messageOf("Request")
	addField(request, "status", "ENUM", ".t.Status", false)
	addField(request, "moment", "MESSAGE", ".google.protobuf.Timestamp", false)
	return &descriptorpb.FileDescriptorProto{
		Name: proto.String("t.proto"), Package: proto.String("t"), Syntax: proto.String("proto3"),
		Dependency:  []string{"google/protobuf/timestamp.proto"},
		MessageType: []*descriptorpb.DescriptorProto{checked, request},
		EnumType: []*descriptorpb.EnumDescriptorProto{{Name: proto.String("Status"), Value: []*descriptorpb.EnumValueDescriptorProto{
			{Name: proto.String("NEW"), Number: proto.Int32(0)}, {Name: proto.String("OLD"), Number: proto.Int32(1)},
		}}},
	}
}

func messageOf(name string) *descriptorpb.DescriptorProto {
	message := &descriptorpb.DescriptorProto{Name: proto.String(name)}
	for kind := range strings.FieldsSeq("INT32 SINT32 SFIXED32 INT64 SINT64 SFIXED64 UINT32 FIXED32 UINT64 FIXED64 STRING BOOL") {
		addField(message, "a_"+strings.ToLower(kind), kind, "", false)
		addField(message, "some_"+strings.ToLower(kind), kind, "", true)
	}
	addField(message, "child", "MESSAGE", ".t."+name, false)
	addField(message, "children", "MESSAGE", ".t."+name, true)
	addField(message, "sizes", "MESSAGE", ".t."+name+".SizesEntry", true)
	entry := &descriptorpb.DescriptorProto{Name: proto.String("SizesEntry"), Options: &descriptorpb.MessageOptions{MapEntry: proto.Bool(true)}}
	addField(entry, "key", "STRING", "", false)
	addField(entry, "value", "UINT32", "", false)
	message.NestedType = append(message.NestedType, entry)
	return message
}

func addField(message *descriptorpb.DescriptorProto, name, kind, typeName string, repeated bool) {
	field := &descriptorpb.FieldDescriptorProto{
		Name: proto.String(name), Number: proto.Int32(int32(len(message.Field) + 1)),
		Type:  descriptorpb.FieldDescriptorProto_Type(descriptorpb.FieldDescriptorProto_Type_value["TYPE_"+kind]).Enum(),
		Label: descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL.Enum(),
	}
	if repeated {
		field.Label = descriptorpb.FieldDescriptorProto_LABEL_REPEATED.Enum()
	}
	if typeName != "" {
		field.TypeName = proto.String(typeName)
	}
	message.Field = append(message.Field, field)
}

func everything(t testing.TB, message protoreflect.Name) protoreflect.MessageDescriptor {
	t.Helper()
	file, err := protodesc.NewFile(fileOfEverything(), protoregistry.GlobalFiles)
	if err != nil {
		t.Fatal(err)
	}
	return file.Messages().ByName(message)
}

func TestTheContractSaysRoutesAndPolicies(t *testing.T) {
	c, err := contractOfServices()
	if err != nil {
		t.Fatal(err)
	}
	routes := 0
	for _, list := range c.routes {
		routes += len(list)
	}
	if routes != 14 || len(c.policies) != 13 || c.longest != 30*time.Second {
		t.Error(routes, len(c.policies), c.longest)
	}
	if p := c.policies["/marketplace.cart.v1.CartService/Clear"]; p.success != 204 || p.deadline != 5*time.Second || p.requestID != nil {
		t.Error(p)
	}
	if p := c.policies["/marketplace.cart.v1.CartService/Checkout"]; p.success != 200 || p.deadline != 15*time.Second || p.requestID == nil {
		t.Error(p)
	}
}

func TestAContractThatCannotBeServedIsRefused(t *testing.T) {
	second := durationpb.New(time.Second)
	fine := &chassisv1.MethodPolicy{Deadline: &chassisv1.Deadline{Default: second, Max: second}}
	get := func(path string) *annotations.HttpRule {
		return &annotations.HttpRule{Pattern: &annotations.HttpRule_Get{Get: path}}
	}
	post := func(path, body string) *annotations.HttpRule {
		return &annotations.HttpRule{Pattern: &annotations.HttpRule_Post{Post: path}, Body: body}
	}
	both := post("/a/{a_int32}", "*")
	both.AdditionalBindings = []*annotations.HttpRule{post("/a/b", "*")}
	for _, c := range []struct {
		promise string
		said    *chassisv1.MethodPolicy
		rule    *annotations.HttpRule
		want    string // "" for one that can
	}{
		{"a body", fine, post("/a/{a_string}/{a_int32}", "*"), ""},
		{"no policy", nil, post("/a", "*"), "t.S.M: it has no (chassis.v1.method) policy"},
		{"no deadline", &chassisv1.MethodPolicy{}, post("/a", "*"), "its deadline needs"},
		{"a default above the longest", &chassisv1.MethodPolicy{Deadline: &chassisv1.Deadline{Default: second}}, post("/a", "*"), "its deadline needs"},
		{"a success of 404", &chassisv1.MethodPolicy{SuccessStatus: 404, Deadline: fine.Deadline}, post("/a", "*"), "success_status 404"},
		{"a body that is one field", fine, post("/a", "child"), `no body but "*"`},
		{"a verb", fine, post("/a:cancel", "*"), `no "a:cancel"`},
		{"a wildcard", fine, post("/a/*", "*"), `no "*"`},
		{"a variable of two segments", fine, post("/{a_string=a/*}", "*"), `no "{a_string=a"`},
		{"a variable of a nested field", fine, post("/{child.a_string}", "*"), `no "{child.a_string}"`},
		{"a variable without a field", fine, post("/{x}", "*"), "{x} must be a string or an integer of t.Request"},
		{"a variable that is a list", fine, post("/{some_int32}", "*"), "{some_int32} must be"},
		{"an empty segment", fine, post("/a/", "*"), `no ""`},
		{"a message in the query", fine, get("/a"), "child cannot be a query parameter"},
		{"two routes for one path", fine, both, "POST /a/b and /a/{a_int32} may be the same path"},
	} {
		t.Run(c.promise, func(t *testing.T) {
			_, err := contractOf(t, c.said, c.rule)
			if c.want == "" != (err == nil) || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Error(err)
			}
		})
	}
}
