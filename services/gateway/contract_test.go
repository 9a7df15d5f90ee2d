package main

import (
	"fmt"
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

// These are examples: an RPC that is added to the contract is none of them.
func TestTheContractSaysRoutesAndPolicies(t *testing.T) {
	c, err := contractOfServices()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []struct {
		method      string
		success     int
		deadline    time.Duration
		idempotency bool
	}{
		{"/marketplace.cart.v1.CartService/Clear", 204, 5 * time.Second, false},
		{"/marketplace.cart.v1.CartService/Checkout", 200, 15 * time.Second, true},
		{"/marketplace.loms.v1.LomsService/OrderCreate", 200, 5 * time.Second, true},
		{"/marketplace.product.v1.ProductService/GetProduct", 200, 5 * time.Second, false},
	} {
		p := c.policies[want.method]
		if p == nil || p.success != want.success || p.deadline != want.deadline || p.requestID != nil != want.idempotency {
			t.Errorf("the .proto says %+v, and the contract has %+v", want, p)
		}
	}
	for method, p := range c.policies {
		if p.longest > c.longest {
			t.Errorf("%s may take %s, and the longest call that the contract knows %s", method, p.longest, c.longest)
		}
	}
	for request, want := range map[string]string{
		"GET /order/info": "/order/info", "GET /product/1": "/product/{sku}", "POST /user/1/cart/2": "/user/{user_id}/cart/{sku}",
		"POST /cart/checkout": "/cart/checkout", "POST /checkout/1": "/checkout/{user_id}",
	} {
		method, path, _ := strings.Cut(request, " ")
		if got, _, _ := c.routes.find(method, path); got == nil || got.template != want {
			t.Errorf("%s should lead to %s, and leads to %+v", request, want, got)
		}
	}
}

func TestEveryRPCHasAPolicyAndARouteForEachOfItsPaths(t *testing.T) {
	c, err := contractOfServices()
	if err != nil {
		t.Fatal(err)
	}
	routes := map[string]bool{}
	for _, list := range c.routes {
		for _, r := range list {
			routes[r.method+" "+r.template] = true
		}
	}
	for _, s := range services {
		for method := range methods(s.file) {
			if c.policies[fmt.Sprintf("/%s/%s", method.Parent().FullName(), method.Name())] == nil {
				t.Errorf("the policy of %s is lost", method.FullName())
			}
			rule := proto.GetExtension(method.Options(), annotations.E_Http).(*annotations.HttpRule)
			for _, r := range append(rule.GetAdditionalBindings(), rule) {
				for verb, path := range map[string]string{"GET": r.GetGet(), "POST": r.GetPost(), "PUT": r.GetPut(),
					"PATCH": r.GetPatch(), "DELETE": r.GetDelete()} {
					if path != "" && !routes[verb+" "+path] {
						t.Errorf("%s: its route %s %s is lost", method.FullName(), verb, path)
					}
				}
			}
		}
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
